//! Makes the tree of a program, and lists the tree that the program leaves.
//!
//! A line of a program's tree is one of
//!
//! ```text
//! dir PATH MODE OWNER              OWNER is user (the one who runs the program) or root
//! file PATH MODE OWNER SIZE        the file's bytes depend only on its name
//! copy PATH MODE OWNER             a copy of the program that performs the steps
//! link PATH TEXT                   a symbolic link with this text
//! hard PATH OLD                    a hard link to the file OLD
//! fifo PATH MODE OWNER
//! xattr PATH NAME VALUE
//! bind PATH DIRECTORY              a second mount, made after the prefix was staged; root only
//! ```
//!
//! A line that cannot be made is left out of both trees. So if some lines are removed, the remaining lines still
//! describe a tree.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use walkdir::DirEntryExt;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use crate::names::Names;

/// Replaces `{M}` and `{E}` in a text.
pub fn fill(text: &str, root: &Path) -> String {
    let root = root.to_str().unwrap();
    text.replace("{E}", &format!("{root}/p/env")).replace("{M}", root)
}

/// Makes a tree in `root` for the user with the number `user`; `steps` is the program that `copy` copies.
pub fn make(lines: &[String], root: &Path, user: u32, steps: &Path) {
    fs::create_dir_all(root.join("p/env")).unwrap();
    let (mut modes, mut attributes) = (Vec::new(), Vec::new());
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        let path = PathBuf::from(fill(words.get(1).unwrap_or(&""), root));
        let made = match words[..] {
            ["dir", ..] => fs::create_dir(&path).is_ok() || path.is_dir(),
            ["file", name, _, _, size] => {
                fs::write(&path, content(name, size.parse().unwrap_or(0))).is_ok()
            }
            ["copy", ..] => fs::copy(steps, &path).is_ok(),
            ["fifo", ..] => rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).is_ok(),
            ["link", _, text] => symlink(fill(text, root), &path).is_ok(),
            ["hard", _, old] => fs::hard_link(fill(old, root), &path).is_ok(),
            ["xattr", _, name, value] => {
                attributes.push((path.clone(), name, value));
                false
            }
            _ => false,
        };
        if let [_, _, mode, owner, ..] = words[..]
            && made
        {
            modes.push((path, mode, owner));
        }
    }
    for (path, name, value) in attributes {
        let _ = rustix::fs::lsetxattr(&path, name, value.as_bytes(), XattrFlags::empty());
    }
    own(root, user);
    for (path, mode, owner) in &modes {
        if *owner == "root" && rustix::process::geteuid().is_root() {
            give(path, 0);
        }
        let mode = u32::from_str_radix(mode, 8).unwrap_or(0o644);
        let _ = fs::set_permissions(path, PermissionsExt::from_mode(mode));
    }
    set_times(root);
}

/// Makes the second mounts of a tree.
pub fn bind(lines: &[String], root: &Path) {
    for line in lines {
        if let ["bind", path, from] = line.split(' ').collect::<Vec<_>>()[..] {
            let _ = rustix::mount::mount_bind(fill(from, root), fill(path, root));
        }
    }
}

fn content(name: &str, size: usize) -> Vec<u8> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let line = format!("{name} 0123456789 abcdefghijklmnopqrstuvwxyz\n");
    line.bytes().cycle().take(size).collect()
}

fn own(root: &Path, user: u32) {
    if rustix::process::geteuid().is_root() {
        for entry in walkdir::WalkDir::new(root).into_iter().flatten() {
            give(entry.path(), user);
        }
    }
}

fn give(path: &Path, id: u32) {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    let _ = rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
}

/// Gives every object its own times, which do not depend on the time at which the tree was made.
fn set_times(root: &Path) {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().contents_first(true);
    for (n, entry) in entries.into_iter().flatten().enumerate() {
        let time = Timespec { tv_sec: 1_000_000_000 + n as i64, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        let _ = rustix::fs::utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW);
    }
}

/// The inode numbers of a tree.
pub fn inodes(root: &Path) -> Vec<(PathBuf, u64)> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name();
    entries.into_iter().flatten().map(|entry| (entry.path().to_path_buf(), entry.ino())).collect()
}

/// Lists the objects of a tree, a line for each path. A line has the modification time only if a step or the tree set
/// this time.
pub fn remains(root: &Path, names: &mut Names) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let Ok(entry) = entry else { continue };
        let path = entry.path();
        let Ok(m) = fs::symlink_metadata(path) else { continue };
        let name = path.strip_prefix(root).unwrap().display();
        let mut line = format!(
            "{name} {:o} {}:{} n{} {}",
            m.mode(),
            m.uid(),
            m.gid(),
            m.nlink(),
            names.of_inode(m.dev(), m.ino())
        );
        if m.mtime() < 1_600_000_000 {
            line += &format!(" m {}.{:09}", m.mtime(), m.mtime_nsec());
        }
        line += &names.cached(&m, || content_of(path, &m));
        lines.push(line.replace(root.to_str().unwrap(), "{M}"));
    }
    lines
}

/// The part of a file's line that changes only if the file's content or attributes change.
fn content_of(path: &Path, m: &fs::Metadata) -> String {
    let mut line = String::new();
    if m.is_symlink() {
        line += &format!(" -> {}", fs::read_link(path).unwrap_or_default().display());
    } else if m.is_file() {
        let bytes = fs::read(path).unwrap_or_default();
        line += &format!(" {} bytes {}", m.size(), &blake3::hash(&bytes).to_hex()[..12]);
        if bytes.len() < 100 {
            line += &format!(" {:?}", String::from_utf8_lossy(&bytes));
        }
    }
    if !m.is_symlink() && !m.file_type().is_fifo() {
        line += &attributes(path);
    }
    line
}

fn attributes(path: &Path) -> String {
    let mut list = [0u8; 1024];
    let Ok(n) = rustix::fs::llistxattr(path, &mut list[..]) else { return String::new() };
    let mut found: Vec<_> = list[..n]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user."))
        .map(|name| {
            let name = String::from_utf8_lossy(name);
            let mut value = [0u8; 256];
            let n = rustix::fs::lgetxattr(path, &*name, &mut value[..]).unwrap_or(0);
            format!(" {name}={:?}", String::from_utf8_lossy(&value[..n]))
        })
        .collect();
    found.sort();
    found.concat()
}

/// Lists the files of a stage. Any change of a file changes its line. The files `state` and `index`, which processes
/// share, are left out.
pub fn staged_files(stage: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for part in ["fs", "orig", "bin", "lib", "env"] {
        for entry in walkdir::WalkDir::new(stage.join(part)).sort_by_file_name() {
            let Ok(entry) = entry else { continue };
            let Ok(m) = fs::symlink_metadata(entry.path()) else { continue };
            let name = entry.path().strip_prefix(stage).unwrap().display();
            lines.push(format!(
                "{name} {:o} n{} {} bytes, inode {}, changed {}.{:09}",
                m.mode(),
                m.nlink(),
                m.size(),
                m.ino(),
                m.ctime(),
                m.ctime_nsec()
            ));
        }
    }
    lines
}
