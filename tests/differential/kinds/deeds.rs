//! Tells which objects a step names, and what the step does to each object.

use std::path::PathBuf;

use super::Now;
use crate::shorten::verb_of;
use crate::state::Slot;

/// The texts with which a descriptor's name begins in a step.
pub(super) const TOKENS: [&str; 5] = ["{fd", "{dev", "{pid", "{up", "{task"];

/// What a step does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// The step only looks at the object.
    Look,
    /// The step changes the object's content, or makes a descriptor or mapping that can change it.
    Write,
    /// The step changes the object's attributes.
    Change,
    /// The step makes or removes the object's name, or gives the name to another object.
    Name,
}

/// An object that a step names.
pub(super) struct Object {
    pub(super) word: String,
    /// A path by which the test's own process reaches the object.
    pub(super) path: PathBuf,
    pub(super) deed: Deed,
    /// Whether the call follows the last name of the path if this name is a symbolic link.
    pub(super) follow: bool,
    /// Whether the step opens the object with `O_PATH`.
    pub(super) only_names: bool,
}

impl Now<'_> {
    /// The path by which the test's own process reaches an object of a step. In the step, `word` is the object's path,
    /// relative to the directory that the word `dir` names.
    fn reach(&self, dir: &str, word: &str) -> PathBuf {
        let proc = PathBuf::from(format!("/proc/{}", self.state.pid));
        for token in TOKENS {
            if let Some((number, rest)) = word.strip_prefix(token).and_then(|r| r.split_once('}')) {
                let fd = self.slot(&format!("s{number}")).map_or(-1, |slot| slot.fd);
                let path = format!("fd/{fd}{rest}");
                return proc.join(path);
            }
        }
        let text = crate::tree::fill(if word == "\"\"" { "" } else { word }, self.root);
        match dir {
            "cwd" => proc.join("cwd").join(text),
            _ => proc.join(format!("fd/{}", self.slot(dir).map_or(-1, |slot| slot.fd))).join(text),
        }
    }

    /// The objects that a step names by a path, and those that it names by a slot.
    pub(super) fn objects(&self, step: &str) -> (Vec<Object>, Vec<(&Slot, Deed)>) {
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
}
