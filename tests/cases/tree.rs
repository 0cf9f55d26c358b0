//! Makes the trees that probes work on, and lists the files that a run left in a tree.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid, XattrFlags};

/// A tree that is being made. Names are relative to the prefix `env`; `../x` lies beside the prefix.
pub struct Tree {
    env: PathBuf,
    named: PathBuf,
}

impl Tree {
    /// Begins a tree in the directory `backing`. Probes will see this directory under the path `named`.
    pub fn new(backing: PathBuf, named: PathBuf) -> Self {
        fs::create_dir_all(backing.join("env")).unwrap();
        Self { env: backing.join("env"), named }
    }

    /// Returns the path of a name in the backing directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.env.join(name)
    }

    /// Replaces `{E}` by the absolute name of the prefix, and `{M}` by the absolute name of the directory that contains
    /// the prefix.
    pub fn fill(&self, text: &str) -> String {
        let mount = self.named.to_str().unwrap();
        text.replace("{E}", &format!("{mount}/env")).replace("{M}", mount)
    }

    /// Makes a directory, and the directories above it.
    pub fn dir(&self, name: &str) {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(self.env.join(name)).unwrap();
    }

    /// Makes a text file, and the directory that contains it.
    pub fn file(&self, name: &str, text: &str) {
        self.bytes(name, text.as_bytes());
    }

    /// Makes a file of any bytes, and the directory that contains it.
    pub fn bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.env.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        self.mode(name, 0o644);
    }

    /// Makes an executable file.
    pub fn program(&self, name: &str, text: &str) {
        self.file(name, text);
        self.mode(name, 0o755);
    }

    /// Makes a symbolic link. `{E}` and `{M}` in its text are replaced as in [`Tree::fill`].
    pub fn link(&self, name: &str, text: &str) {
        let path = self.env.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mount = self.named.to_str().unwrap();
        symlink(text.replace("{E}", &format!("{mount}/env")).replace("{M}", mount), path).unwrap();
    }

    /// Makes a hard link.
    pub fn hard_link(&self, old: &str, new: &str) {
        fs::hard_link(self.env.join(old), self.env.join(new)).unwrap();
    }

    /// Sets the permissions of a file.
    pub fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.env.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }

    /// Sets an extended attribute of a file.
    pub fn attribute(&self, name: &str, attribute: &str, value: &str) {
        let path = self.env.join(name);
        rustix::fs::setxattr(&path, attribute, value.as_bytes(), XattrFlags::empty()).unwrap();
    }

    /// Gives the tree to `owner` and `M/out` to `user`, who runs the probe, and sets fixed times. Call this last.
    pub fn finish(&self, owner: u32, user: u32) {
        self.dir("../out");
        let top = self.env.parent().unwrap();
        for entry in walkdir::WalkDir::new(top).contents_first(true) {
            let path = entry.unwrap().into_path();
            let below_out = path.starts_with(top.join("out"));
            set_owner(&path, if below_out { user } else { owner });
            let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 123_456_789 };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }
}

fn set_owner(path: &Path, id: u32) {
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Makes the tree of most cases.
pub fn standard(t: &Tree) {
    t.file("a", "hello\n");
    t.file("d/b", "world\n");
    t.file("d/sub/c", "deep\n");
    t.dir("empty");
    for i in 1..=3 {
        t.file(&format!("full/{i}"), &format!("{i}\n"));
    }
    t.dir("full/sub");
    t.link("full/link", "1");
    t.file("lib/os.py", "import sys\n");
    t.link("lib64", "lib");
    t.file("read-only", "ro\n");
    t.mode("read-only", 0o444);
    t.program("bin/tool", "#!/bin/sh\necho tool \"$@\"\n");
    t.hard_link("a", "same-as-a");
    // Links of several kinds: relative and absolute within the prefix, to a directory, to a missing name, to a file
    // outside the prefix, and in a circle.
    t.link("to-a", "a");
    t.link("abs-to-b", "{E}/d/b");
    t.link("to-d", "d");
    t.link("dangling", "no/such/file");
    t.link("outside", "{M}/out/real");
    t.link("outside-dir", "{M}/out");
    t.link("loop1", "loop2");
    t.link("loop2", "loop1");
    t.file("../out/real", "outside\n");
    t.file("../env2/a", "the neighbour's\n");
}

/// Makes the standard tree, and in `w/` a file for each call of `probes/mutate.c`.
pub fn writable(t: &Tree) {
    standard(t);
    for name in "unlink unlinkat remove link linkat rename renameat renameat2 chmod lchmod fchmodat chown lchown fchownat \
                 truncate truncate64 utime utimes lutimes futimesat utimensat fchmod fchown futimens futimes setxattr \
                 lsetxattr fsetxattr removexattr lremovexattr fremovexattr"
        .split_whitespace()
    {
        t.file(&format!("w/{name}"), name);
    }
    for name in ["rmdir", "unlinkat.dir", "fchmod.dir"] {
        t.dir(&format!("w/{name}"));
    }
    // New names in one directory share a mark, so each call that makes a name has its own directory.
    for name in "mkdir mkdirat mkfifo mkfifoat mknod mknodat xmknod xmknodat symlink symlinkat mkstemp mkstemp64 mkostemp \
                 mkostemp64 mkstemps mkstemps64 mkostemps mkostemps64 mkdtemp"
        .split_whitespace()
    {
        t.dir(&format!("w/in.{name}"));
    }
    for name in ["lchown", "lutimes"] {
        t.link(&format!("w/{name}.link"), name);
    }
    for name in ["removexattr", "lremovexattr", "fremovexattr"] {
        t.attribute(&format!("w/{name}"), "user.note", "noted");
    }
}

/// Lists the tree that a run left, a line for each path. A line has the modification time only if the run did not set
/// this time to the present.
pub fn remains(backing: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in walkdir::WalkDir::new(backing).sort_by_file_name() {
        let path = entry.unwrap().into_path();
        let m = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(backing).unwrap().display();
        let mut line = format!("{name} {:o} {}:{} links {}", m.mode(), m.uid(), m.gid(), m.nlink());
        if m.mtime() < 1_500_000_000 {
            line += &format!(" changed {}.{:09}", m.mtime(), m.mtime_nsec());
        }
        if m.is_symlink() {
            line += &format!(" -> {}", fs::read_link(&path).unwrap().display());
        } else if m.is_file() {
            line += &format!(" {} bytes {}", m.size(), blake3::hash(&fs::read(&path).unwrap()));
            let mut value = [0u8; 64];
            if let Ok(n) = rustix::fs::lgetxattr(&path, "user.note", &mut value) {
                line += &format!(" note {:?}", String::from_utf8_lossy(&value[..n]));
            }
        }
        lines.push(line);
    }
    lines
}
