//! Kinds of differences, and which of them programs may meet.
//!
//! A kind that is off is known to differ: trees and steps that meet it are not generated. Who mends it turns it on in
//! [`KINDS`]. `PYSHM_DIFFERENTIAL_ALL=1` turns all of them on, `PYSHM_DIFFERENTIAL_KINDS=lock,mount` some.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::program::User;
use crate::shorten::verb_of;
use crate::state::{Slot, State};

/// A kind of steps that may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A file's content changes while a descriptor that reads it is open, or a mapping.
    Stale,
    /// An object is renamed, replaced or removed while a descriptor of it, or of what lies below it, is open or is a
    /// working directory.
    Moved,
    /// A file has a name outside the prefix.
    OutsideLink,
    /// The number of a file's names changes.
    LinkCount,
    /// Second mounts, and mounts over directories.
    Mount,
    /// What lies above the prefix, the prefix itself or a link that leads into it is renamed, replaced or removed.
    Above,
    /// A descriptor's name: /proc/self/fd/N and its like.
    FdName,
    /// Locks.
    Lock,
    /// Names through `.`, `..` and repeated or trailing slashes.
    Dots,
    /// The stage is removed.
    Unstage,
    /// Limits of descriptors and file sizes.
    Limit,
    /// Another root.
    Chroot,
    /// The process becomes another user for a while.
    Identity,
    /// Objects that the user may not read or search.
    Permission,
    /// Threads that have a working directory of their own.
    Unshare,
    /// A directory is opened by `O_PATH`.
    PathDir,
    /// A directory changes between the opening of a stream and its reading.
    Stream,
    /// A descriptor to read is made through a link outside that leads into the prefix.
    OutsideName,
    /// Attributes of a file with several names are changed by a descriptor that reads it.
    LinkedFd,
    /// Flags of a directory's descriptor are set.
    DirFlags,
    /// A directory's descriptor is put to a position that is not the beginning.
    DirSeek,
    /// A program of the prefix runs while somebody writes to it.
    TextBusy,
    /// A stream is opened again with a name that cannot be opened.
    Freopen,
    /// A name is made for a descriptor by itself: `linkat` with `AT_EMPTY_PATH`.
    LinkEmpty,
    /// The prefix itself is named by a way that leads out of it and back.
    Returns,
    /// A child without the shim changes something.
    Static,
    /// Who starts the program has opened something under the prefix.
    Opened,
    /// Bytes are copied by the kernel from one file to another.
    CopyRange,
    /// A directory becomes closed to its user, who may hold descriptors of what lies below it.
    Closed,
}

/// Each kind, its name, whether it is on, and why it is off.
pub const KINDS: &[(Kind, &str, bool, &str)] = &[
    (Kind::Stale, "stale", false, "a staged descriptor goes on reading the staged data"),
    (Kind::Moved, "moved", false, "a descriptor is followed by its name"),
    (Kind::OutsideLink, "outside-link", true, ""),
    (Kind::LinkCount, "link-count", true, ""),
    (Kind::Mount, "mount", false, "a descriptor below a mount point is followed by its name"),
    (Kind::Above, "above", true, ""),
    (Kind::FdName, "fd-name", false, "names of staged descriptors lead into the stage"),
    (Kind::Lock, "lock", false, "a lock exchanges the descriptor"),
    (Kind::Dots, "dots", false, "a directory's own name at the end of a path"),
    (Kind::Unstage, "unstage", false, "writes after the stage is gone are not marked"),
    (Kind::Limit, "limit", false, "a writer without descriptors cannot mark"),
    (Kind::Chroot, "chroot", false, "not looked at yet"),
    (Kind::Identity, "identity", true, ""),
    (Kind::Permission, "permission", true, ""),
    (Kind::Unshare, "unshare", false, "not looked at yet"),
    (Kind::PathDir, "path-dir", false, "the descriptor of the staged directory can also be read"),
    (Kind::Stream, "stream", false, "a stream of a staged directory goes on reading it"),
    (
        Kind::OutsideName,
        "outside-name",
        false,
        "attributes changed by that descriptor are not marked",
    ),
    (Kind::LinkedFd, "linked-fd", false, "only the name that was opened is marked"),
    (Kind::DirFlags, "dir-flags", false, "the flags that say so of a staged directory are lost"),
    (Kind::DirSeek, "dir-seek", false, "positions and order are the stage's file system's"),
    (Kind::TextBusy, "text-busy", false, "the staged copy runs, not the original"),
    (Kind::Freopen, "freopen", false, "the stream is not closed"),
    (Kind::LinkEmpty, "link-empty", false, "the link is made by name, which needs no privilege"),
    (Kind::Returns, "returns", false, "only its own name is marked"),
    (Kind::Static, "static", false, "its writes are not marked"),
    (Kind::Opened, "opened", false, "what was opened before the shim came is not known"),
    (Kind::CopyRange, "copy-range", false, "the stage is another file system: EXDEV"),
    (Kind::Closed, "closed", false, "a descriptor is followed by its name"),
];

/// How names of descriptors begin in a step.
const TOKENS: [&str; 5] = ["{fd", "{dev", "{pid", "{up", "{task"];

/// Which kinds programs may meet.
#[derive(Debug, Clone)]
pub struct Kinds {
    off: Vec<Kind>,
}

impl Kinds {
    /// As the table and the environment say.
    pub fn chosen() -> Self {
        let all = std::env::var_os("PYSHM_DIFFERENTIAL_ALL").is_some();
        let some = std::env::var("PYSHM_DIFFERENTIAL_KINDS").unwrap_or_default();
        let some: Vec<_> = some.split(',').collect();
        let off = KINDS.iter().filter(|(_, name, on, _)| !(*on || all || some.contains(name)));
        Self { off: off.map(|(kind, ..)| *kind).collect() }
    }

    /// Whether a kind is known to differ.
    pub fn is_off(&self, kind: Kind) -> bool {
        self.off.contains(&kind)
    }

    /// Whether the kind of this name is known to differ. Fails where there is none.
    pub fn is_name_off(&self, name: &str) -> Result<bool, String> {
        let kind = KINDS.iter().find(|(_, known, ..)| *known == name);
        kind.map(|(kind, ..)| self.is_off(*kind)).ok_or_else(|| format!("there is no kind {name}"))
    }

    /// Whether a tree may have this line.
    pub fn allow_line(&self, line: &str, user: User) -> bool {
        let words: Vec<_> = line.split(' ').collect();
        let kind = match words[..] {
            ["bind", ..] => Kind::Mount,
            ["hard", name, _] if !name.starts_with("{E}") => Kind::OutsideLink,
            [_, name, ..] if user == User::Ordinary && is_closed(name) => Kind::Permission,
            _ => return true,
        };
        !self.is_off(kind)
    }

    /// Whether a step may be performed now.
    pub fn allow_step(&self, now: &Now<'_>, step: &str) -> bool {
        self.off.is_empty() || !now.kinds_of(step).iter().any(|kind| self.is_off(*kind))
    }
}

fn is_closed(name: &str) -> bool {
    ["priv", "blind", "mute", "secret"].iter().any(|closed| name.contains(closed))
}

/// Whether a step takes the owner's permission to search a directory.
fn step_closes(step: &str) -> bool {
    verb_of(step).contains("chmod")
        && step.split(' ').any(|word| {
            word.len() == 3 && u32::from_str_radix(word, 8).is_ok_and(|mode| mode & 0o500 != 0o500)
        })
}

/// What the processes of the bare run are and hold before a step.
pub struct Now<'a> {
    pub root: &'a Path,
    /// The process whose step it is.
    pub state: &'a State,
    /// All others that live.
    pub others: &'a [State],
    /// Inodes that are mapped.
    pub mapped: &'a [u64],
}

/// What a step does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Look,
    /// Its content changes, or may be changed from here on.
    Write,
    /// Its attributes change.
    Change,
    /// A name comes, goes, or means something else.
    Name,
}

/// An object that a step names.
struct Object {
    word: String,
    /// A path by which the driver reaches it.
    path: PathBuf,
    deed: Deed,
    /// Whether the last name is followed where it is a link.
    follow: bool,
    /// Whether it is opened by `O_PATH`.
    only_names: bool,
}

impl Now<'_> {
    /// The descriptor that a word names.
    pub fn slot(&self, word: &str) -> Option<&Slot> {
        let number: usize = word.strip_prefix('s')?.parse().ok()?;
        self.state.slots.iter().find(|slot| slot.number == number)
    }

    /// Where the driver finds what a word means to the process.
    fn reach(&self, dir: &str, word: &str) -> PathBuf {
        let proc = PathBuf::from(format!("/proc/{}", self.state.pid));
        for token in TOKENS {
            if let Some((number, rest)) = word.strip_prefix(token).and_then(|r| r.split_once('}')) {
                let fd = self.slot(&format!("s{number}")).map_or(-1, |slot| slot.fd);
                let path = format!("fd/{fd}{}", rest);
                return proc.join(path);
            }
        }
        let text = crate::tree::fill(if word == "\"\"" { "" } else { word }, self.root);
        match dir {
            "cwd" => proc.join("cwd").join(text),
            _ => proc.join(format!("fd/{}", self.slot(dir).map_or(-1, |slot| slot.fd))).join(text),
        }
    }

    fn objects(&self, step: &str) -> (Vec<Object>, Vec<(&Slot, Deed)>) {
        let words: Vec<&str> = step.split(' ').collect();
        let word = |n: usize| words.get(n).copied().unwrap_or("");
        let mut objects = Vec::new();
        let mut add = |dir: &str, name: &str, deed, follow| {
            let path = self.reach(dir, name);
            let only_names = step.contains("|PATH") || step.contains(" PATH");
            objects.push(Object { word: name.to_string(), path, deed, follow, only_names });
        };
        let mut slots = Vec::new();
        let mut by_slot = |name: &str, deed| slots.extend(self.slot(name).map(|slot| (slot, deed)));
        let opening = |flags: &str| {
            let writes = ["WRONLY", "RDWR", "TRUNC", "CREAT"].iter().any(|f| flags.contains(f));
            if writes { Deed::Write } else { Deed::Look }
        };
        let no_follow = |flags: &str| !flags.contains("NOFOLLOW");
        match verb_of(step) {
            "open" | "open64" => add("cwd", word(2), opening(word(3)), no_follow(word(3))),
            "openat" | "openat-raw" => add(word(2), word(3), opening(word(4)), no_follow(word(4))),
            "creat" => add("cwd", word(2), Deed::Write, true),
            "fopen" | "freopen" => {
                let writes = word(2).contains(['w', 'a', '+']);
                add("cwd", word(1), if writes { Deed::Write } else { Deed::Look }, true);
            }
            "write" | "pwrite" | "ftruncate" | "fallocate" => by_slot(word(1), Deed::Write),
            "copyrange" => by_slot(word(2), Deed::Write),
            "fchmod" | "fchown" | "futimens" | "fsetxattr" | "fremovexattr" => {
                by_slot(word(1), Deed::Change);
            }
            "truncate" => add("cwd", word(1), Deed::Write, true),
            "chmod" | "chown" | "setxattr" | "removexattr" => {
                add("cwd", word(1), Deed::Change, true)
            }
            "lchown" | "lsetxattr" | "lremovexattr" => add("cwd", word(1), Deed::Change, false),
            "fchmodat" => add(word(1), word(2), Deed::Change, no_follow(word(4))),
            "fchownat" | "utimensat" => add(word(1), word(2), Deed::Change, no_follow(word(5))),
            "mkdir" | "rmdir" | "unlink" | "remove" | "mkfifo" => {
                add("cwd", word(1), Deed::Name, false)
            }
            "mkdirat" | "unlinkat" | "mknodat" => add(word(1), word(2), Deed::Name, false),
            "mkstemp" => add("cwd", word(1), Deed::Name, false),
            "symlink" => add("cwd", word(2), Deed::Name, false),
            "symlinkat" => add(word(2), word(3), Deed::Name, false),
            "rename" => {
                add("cwd", word(1), Deed::Name, false);
                add("cwd", word(2), Deed::Name, false);
            }
            "link" => {
                add("cwd", word(1), Deed::Change, false);
                add("cwd", word(2), Deed::Name, false);
            }
            "renameat" | "renameat2" => {
                add(word(1), word(2), Deed::Name, false);
                add(word(3), word(4), Deed::Name, false);
            }
            "linkat" => {
                add(word(1), word(2), Deed::Change, word(5).contains("FOLLOW"));
                add(word(3), word(4), Deed::Name, false);
            }
            "run" => {
                let (deed, n) = match word(1) {
                    "rm" => (Deed::Name, 3),
                    "touch" => (Deed::Write, 2),
                    "sh" => (Deed::Write, 3),
                    _ => (Deed::Look, words.len() - 1),
                };
                let name = word(n).rsplit(">>").next().unwrap_or("");
                add("cwd", name, deed, deed != Deed::Name);
            }
            "map" if word(4).contains("WRITE") && !word(4).contains("PRIVATE") => {
                by_slot(word(2), Deed::Write);
            }
            "fstatat" | "statx" | "faccessat" | "readlinkat" | "listat" => {
                add(word(1), word(2), Deed::Look, true);
            }
            "opendir" | "same" => add("cwd", word(2), Deed::Look, true),
            "stat" | "lstat" | "access" | "euidaccess" | "readlink" | "realpath" | "list"
            | "glob" | "nftw" | "fts" | "statvfs" | "pathconf" | "getxattr" | "lgetxattr"
            | "listxattr" | "llistxattr" | "chdir" => add("cwd", word(1), Deed::Look, true),
            _ => {}
        }
        (objects, slots)
    }

    /// The kinds that a step meets.
    fn kinds_of(&self, step: &str) -> Vec<Kind> {
        let mut kinds = Vec::new();
        match verb_of(step) {
            "flock" | "lock" | "getlk" | "ofdlock" | "ofdgetlk" | "lockf" => kinds.push(Kind::Lock),
            "mount" | "tmpfs" | "umount" => kinds.push(Kind::Mount),
            "unstage" | "lose-stage" => kinds.push(Kind::Unstage),
            "nofile" | "fsize" | "memory" => kinds.push(Kind::Limit),
            "chroot" => kinds.push(Kind::Chroot),
            "seteuid" | "setegid" | "setfsuid" | "setgroups" => kinds.push(Kind::Identity),
            "linkat" if step.contains("EMPTY_PATH") => kinds.push(Kind::LinkEmpty),
            "static" => kinds.push(Kind::Static),
            "unshare" => kinds.push(Kind::Unshare),
            "exec" if !step.ends_with("self") => kinds.push(Kind::TextBusy),
            "setfl"
                if self.slot(step.split(' ').nth(1).unwrap_or("")).is_some_and(Slot::is_dir) =>
            {
                kinds.push(Kind::DirFlags);
            }
            "copyrange" => kinds.push(Kind::CopyRange),
            "lseek"
                if self.slot(step.split(' ').nth(1).unwrap_or("")).is_some_and(Slot::is_dir)
                    && !step.ends_with(" 0 SET") =>
            {
                kinds.push(Kind::DirSeek);
            }
            _ => {}
        }
        let (objects, slots) = self.objects(step);
        for (slot, deed) in slots {
            if deed == Deed::Write && self.is_read(slot.ino) {
                kinds.push(Kind::Stale);
            }
            let path = format!("/proc/{}/fd/{}", self.state.pid, slot.fd);
            if deed == Deed::Change
                && slot.is_file()
                && fs::metadata(path).is_ok_and(|m| m.nlink() > 1)
            {
                kinds.push(Kind::LinkedFd);
            }
            if slot.is_dir() && deed == Deed::Change && step_closes(step) && !self.is_privileged() {
                kinds.push(Kind::Closed);
            }
        }
        let named = objects.iter().filter(|object| object.deed == Deed::Name).count();
        for object in &objects {
            self.kinds_of_object(step, object, &mut kinds);
        }
        // Two names of one file: a link, or a rename over one of several names.
        if named > 0 && matches!(verb_of(step), "link" | "linkat") {
            let outside = objects.iter().any(|object| !self.is_inside(&object.path));
            let inside = objects.iter().any(|object| self.is_inside(&object.path));
            if outside && inside {
                kinds.push(Kind::OutsideLink);
            }
        }
        kinds
    }

    fn kinds_of_object(&self, step: &str, object: &Object, kinds: &mut Vec<Kind>) {
        let word = object.word.as_str();
        if TOKENS.iter().any(|token| word.contains(token)) {
            kinds.push(Kind::FdName);
        }
        let plain = word.replace("{M}", "").replace("{E}", "");
        if plain.contains("//")
            || plain.ends_with('/')
            || plain.split('/').any(|part| part == "." || part == "..")
        {
            kinds.push(Kind::Dots);
        }
        let meta = if object.follow {
            fs::metadata(&object.path)
        } else {
            fs::symlink_metadata(&object.path)
        };
        let names = object.deed == Deed::Name || (object.deed == Deed::Write && meta.is_err());
        let held = object.path.parent().and_then(|dir| fs::metadata(dir).ok());
        let held = held.is_some_and(|dir| self.is_read(dir.ino()));
        if names && (held || self.states().any(|state| !state.streams.is_empty())) {
            kinds.push(Kind::Stream);
        }
        if verb_of(step) == "freopen" && fs::File::open(&object.path).is_err() {
            kinds.push(Kind::Freopen);
        }
        let Ok(meta) = meta else { return };
        let canonical = fs::canonicalize(&object.path);
        if canonical
            .is_ok_and(|path| self.prefixes().contains(&path) && self.as_written(word) != path)
        {
            kinds.push(Kind::Returns);
        }
        if object.deed == Deed::Look
            && verb_of(step).starts_with("open")
            && self.is_inside(&object.path)
            && !self.is_under_a_prefix(&self.as_written(word))
        {
            kinds.push(Kind::OutsideName);
        }
        if meta.is_dir() && object.only_names {
            kinds.push(Kind::PathDir);
        }
        if meta.is_dir()
            && object.deed == Deed::Change
            && step_closes(step)
            && !self.is_privileged()
        {
            kinds.push(Kind::Closed);
        }
        match object.deed {
            Deed::Write if self.is_read(meta.ino()) => kinds.push(Kind::Stale),
            Deed::Name => {
                if self.is_held(&object.path, &meta) {
                    kinds.push(Kind::Moved);
                }
                if meta.nlink() > 1 && !meta.is_dir() {
                    kinds.push(Kind::LinkCount);
                    if !self.is_inside(&object.path) {
                        kinds.push(Kind::OutsideLink);
                    }
                }
                if self.is_above(&object.path, &meta) {
                    kinds.push(Kind::Above);
                }
            }
            _ => {}
        }
    }

    fn is_privileged(&self) -> bool {
        self.state.identity.starts_with("0:")
    }

    /// What is staged, or may be.
    fn prefixes(&self) -> [PathBuf; 2] {
        ["p/env", "p/env2"].map(|name| self.root.join(name))
    }

    fn is_under_a_prefix(&self, path: &Path) -> bool {
        self.prefixes().iter().any(|prefix| path.starts_with(prefix))
    }

    /// A path without links on its way; its last name as it is.
    fn real(&self, path: &Path) -> Option<PathBuf> {
        let name = path.file_name()?;
        if path.parent().is_some_and(|dir| dir.starts_with("/proc") && dir.ends_with("fd")) {
            // A descriptor itself.
            return fs::read_link(path).ok();
        }
        Some(fs::canonicalize(path.parent()?).ok()?.join(name))
    }

    /// A path as it is written, from the root on, without regard to links.
    fn as_written(&self, word: &str) -> PathBuf {
        let text = crate::tree::fill(word, self.root);
        let mut path = PathBuf::new();
        for part in self.state.cwd.join(text).components() {
            match part {
                std::path::Component::ParentDir => drop(path.pop()),
                part => path.push(part),
            }
        }
        path
    }

    fn is_inside(&self, path: &Path) -> bool {
        self.real(path).is_some_and(|path| self.is_under_a_prefix(&path))
    }

    /// Whether an object lies above the prefix, is the prefix, or is a link outside that leads somewhere.
    fn is_above(&self, path: &Path, meta: &fs::Metadata) -> bool {
        let Some(real) = self.real(path) else { return true };
        self.prefixes().iter().any(|prefix| prefix.starts_with(&real))
            || (meta.is_symlink() && !self.is_under_a_prefix(&real))
    }

    fn states(&self) -> impl Iterator<Item = &State> {
        std::iter::once(self.state).chain(self.others)
    }

    /// Whether a descriptor or mapping reads a file.
    fn is_read(&self, ino: u64) -> bool {
        self.mapped.contains(&ino)
            || self
                .states()
                .flat_map(|state| &state.slots)
                .any(|slot| slot.ino == ino && !slot.writes())
    }

    /// Whether a descriptor or working directory is of an object or of what lies below it.
    fn is_held(&self, path: &Path, meta: &fs::Metadata) -> bool {
        let Some(real) = self.real(path) else { return true };
        self.states().any(|state| {
            state.cwd.starts_with(&real)
                || state
                    .slots
                    .iter()
                    .any(|slot| slot.ino == meta.ino() || Path::new(&slot.name).starts_with(&real))
                || !state.streams.is_empty() && meta.is_dir()
        }) || self.mapped.contains(&meta.ino())
    }
}
