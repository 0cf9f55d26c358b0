//! Marks what a call changes by a path that is spelled outside every prefix. Such a path may still lead to a file of a
//! prefix: by a symbolic link, a hard link or another mount of the same file system, or because the path lies above a
//! prefix.
//!
//! A file is recognised by its device and inode. Invariants:
//! - A file that is opened for writing is recognised by its descriptor, without a further operation on a path.
//! - Every other call costs one more operation, a stat of the path or of its directory. A rename costs one more
//!   operation for each of its two paths. A second operation on a path follows only if the first shows that the file
//!   lies on a prefix's device.

use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};

use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, S_IFDIR, S_IFMT};
use pyshm_format::hash_path;
use pyshm_format::state::Mark;

use crate::base::scratch::PATH_MAX;
use crate::base::text::{at_last_slash, join};
use crate::base::thin_callback::Callback;
use crate::base::{mounts, sys};
use crate::decide::view::Follow;
use crate::path::canonical::ask_kernel;
use crate::path::change::{At, Change, Names};
use crate::path::marks::{mark, mark_entry, mark_inode};
use crate::stage::descriptor::fd_target;
use crate::stage::mapped::Stage;

/// Number of prefixes whose mount is remembered.
const REMEMBERED: usize = 8;

/// For each prefix, the identifier of its mount plus one. 0 until the mount is looked up.
static MOUNTS: [AtomicU64; REMEMBERED] = [const { AtomicU64::new(0) }; REMEMBERED];

/// Marks what a call on the absolute path `path` changes, then calls the real function with the directory and path in
/// `own`.
pub fn call(change: &Change<'_>, path: &[u8], own: At, real: Callback<'_, At>) {
    let Change { stage, names, follow, .. } = *change;
    let path = trimmed(path);
    if names.hides_subtree() {
        mark_above(stage, path);
    }
    match names {
        Names::Opened { .. } => {}
        Names::Same | Names::Search => {
            mark_object(stage, own, follow, names);
        }
        Names::Removed => {
            mark_object(stage, own, Follow::No, names);
        }
        Names::MovedAway => mark_moved(stage, path, own, names),
        Names::Added | Names::MovedHere => mark_new_name(stage, path, names),
        Names::Exchanged => {
            mark_moved(stage, path, own, names);
            mark_new_name(stage, path, names);
        }
    }
    real.call(own);
    // A directory above a prefix is not empty, so its removal mostly fails, and must then leave no mark. The link by which
    // a prefix is known can be removed.
    if names == Names::Removed && change.succeeded.get() {
        mark_above(stage, path);
    }
}

/// Removes the slashes at the end of a path.
fn trimmed(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&b| b != b'/').and_then(|i| path.get(..=i)).unwrap_or(path)
}

/// Marks `path` if a spelling of a prefix lies at or below `path`. The index then answers nothing below `path`.
pub fn mark_above(stage: &Stage, path: &[u8]) {
    let at_or_above = |prefix: &[u8]| {
        prefix.strip_prefix(path).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    };
    if stage.index().prefixes().any(|p| at_or_above(p.path) || at_or_above(p.canonical)) {
        stage.view.diverged.mark(Mark::Subtree, hash_path(path));
    }
}

/// Marks the file that the caller's path names, under all names that the index has for the file. Returns the file's
/// attributes if the file lies on the device of a prefix.
fn mark_object(stage: &Stage, own: At, follow: Follow, names: Names) -> Option<libc::stat> {
    let flags: c_int = if follow.is_yes() { 0 } else { AT_SYMLINK_NOFOLLOW };
    // SAFETY: the kernel checks the path. The real function gets the same path.
    let st = unsafe { sys::fstatat(own.0, own.1, flags) }.ok()?;
    if !stage.has_prefix_on(st.st_dev) {
        return None;
    }
    mark_inode(stage, st.st_dev, st.st_ino, |e| mark_entry(stage, e, names));
    Some(st)
}

/// Marks the file that a rename moves away. If the file is a directory, also marks every prefix below it.
fn mark_moved(stage: &Stage, path: &[u8], own: At, names: Names) {
    let st = mark_object(stage, own, Follow::No, names);
    if st.is_some_and(|st| st.st_mode & S_IFMT == S_IFDIR) {
        mark_canonical_above(stage, path);
    }
}

#[inline(never)]
fn mark_canonical_above(stage: &Stage, path: &[u8]) {
    let mut link = [0; PATH_MAX];
    let len = ask_kernel(AT_FDCWD, path, Follow::No, &mut link);
    if let Some(canonical) = len.and_then(|len| link.get(..len)) {
        mark_above(stage, canonical);
    }
}

/// Marks the name that a call adds, if the index has its directory.
#[inline(never)]
fn mark_new_name(stage: &Stage, path: &[u8], names: Names) {
    let Some((parent, name)) = at_last_slash(path) else { return };
    let parent = if parent.is_empty() { &b"/"[..] } else { parent };
    let mut text = [0; PATH_MAX];
    if join(&mut text, &[parent, b"\0"]).is_none() {
        return;
    }
    // SAFETY: `join` wrote the NUL.
    let Ok(st) = (unsafe { sys::stat(text.as_ptr().cast()) }) else { return };
    if !stage.has_prefix_on(st.st_dev) {
        return;
    }
    mark_inode(stage, st.st_dev, st.st_ino, |dir| {
        if let Some(len) = join(&mut text, &[dir.path(), name])
            && let Some(path) = text.get(..len)
        {
            mark(stage, path, names);
        }
    });
}

/// Marks a file on the device of a prefix that was just opened for writing as `fd`. `st` holds the file's attributes.
/// `makes` says whether the call may have made the file.
#[inline(never)]
pub fn mark_opened_on_prefix(stage: &Stage, fd: c_int, st: &libc::stat, makes: bool) {
    let diverged = &stage.view.diverged;
    let known = mark_inode(stage, st.st_dev, st.st_ino, |e| {
        if !diverged.has(Mark::Path, e.hash()) {
            mark_entry(stage, e, Names::Same);
        }
    });
    // A file without a name needs no mark, because no other process can open such a file.
    if known || st.st_nlink == 0 {
        return;
    }
    let mut buf = [0; PATH_MAX];
    let Some(path) = fd_target(fd, &mut buf) else {
        // Without /proc the file's name is unknown, so everything counts as diverged.
        return diverged.fill();
    };
    if stage.view.prefix_of(path).is_some() {
        mark(stage, path, Names::Added);
    } else if makes && !is_on_mount_of_prefix(stage, fd) {
        // On the prefix's own mount, a path outside the prefixes really leads to a file outside. On another mount, such
        // a path may be a second name of a file under the prefix.
        mark_new_name(stage, path, Names::Added);
    }
}

/// Whether an open file lies on the same mount as a prefix. If it does, the file's path tells whether the file lies
/// under that prefix.
fn is_on_mount_of_prefix(stage: &Stage, fd: c_int) -> bool {
    let Some(mount) = mounts::of_descriptor(fd) else { return false };
    stage.index().prefixes().enumerate().any(|(number, prefix)| {
        let known = MOUNTS.get(number);
        let remembered = known.map_or(0, |known| known.load(Ordering::Relaxed));
        if remembered != 0 {
            return remembered == mount + 1;
        }
        let found = mounts::of_path(prefix.canonical);
        if let (Some(known), Some(found)) = (known, found) {
            known.store(found + 1, Ordering::Relaxed);
        }
        found == Some(mount)
    })
}
