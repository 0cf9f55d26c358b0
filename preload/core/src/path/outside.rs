//! Marks what a call changes by a path that is spelled outside every prefix. Such a path may still lead to a file of a
//! prefix: by a symbolic link, a hard link or another mount of the same file system, or because the path lies above a
//! prefix.
//!
//! A file is recognised by its device and inode. Invariants:
//! - A file that is opened for writing is recognised by its descriptor, without a further operation on a path.
//! - Every other call on a path costs one more operation, a stat of the path or of its directory. A rename costs one for
//!   both of its paths: a descriptor of the renamed file has the old name before the call and the new one after it.
//! - A second operation on a path follows only if the first shows that the file lies on a prefix's device.

use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};

use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, S_IFDIR, S_IFMT};
use pyshm_format::state::Mark;
use pyshm_format::{Entry, Reason, hash_path};

use crate::base::buffer::Buffer;
use crate::base::text::{at_last_slash, join};
use crate::base::thin_callback::Callback;
use crate::base::{mounts, sys};
use crate::decide::view::Follow;
use crate::path::canonical::ask_kernel;
use crate::path::change::{At, Change, Names, NewName};
use crate::path::marks::{
    self, keep_descriptors, keep_descriptors_of, mark, mark_entry, mark_inode, mark_open,
};
use crate::stage::changed_library;
use crate::stage::close::own_name;
use crate::stage::descriptor::{fd_path, fd_target};
use crate::stage::mapped::Stage;
use crate::stage::swap_fd::{Covers, has_staged, take_originals};

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
    if names.hides_subtree() || names == Names::Removed {
        close_removed(stage, path, names);
    }
    match names {
        Names::Opened { .. } => {}
        Names::Same | Names::Search => {
            mark_object(stage, own, follow, names);
        }
        Names::Removed => {
            mark_object(stage, own, Follow::No, names);
        }
        Names::MovedAway => return moved(change, path, own, real),
        Names::MovedHere if change.new_name.get() == NewName::ByDescriptor => {
            keep_replaced(stage, own);
        }
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
        take_originals(stage, Covers::Everything);
        let gone = stage.view.in_diverged_subtree(path);
        stage.mark(Mark::Subtree, hash_path(path));
        for prefix in stage.index().prefixes().filter(|_| !gone) {
            if at_or_above(prefix.path) || at_or_above(prefix.canonical) {
                changed_library::lead_to_all_below(stage, prefix.canonical);
            }
        }
    }
}

/// Closes the stage whose files are being removed, or moved away.
fn close_removed(stage: &Stage, path: &[u8], names: Names) {
    let below = |path: &[u8], above: &[u8]| {
        path.strip_prefix(above).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    };
    // A directory above the stage is not empty, and cannot be removed.
    let moves_above = || names != Names::Removed && below(stage.dir(), path);
    if (below(path, stage.dir()) || moves_above()) && !stage.view.diverged.is_closed() {
        stage.close(Reason::Removed, own_name());
    }
}

/// Marks the file that the caller's path names, under all names that the index has for it. Gives its attributes if it lies on the
/// device of a prefix.
fn mark_object(stage: &Stage, own: At, follow: Follow, names: Names) -> Option<libc::stat> {
    let flags: c_int = if follow.is_yes() { 0 } else { AT_SYMLINK_NOFOLLOW };
    // SAFETY: the kernel checks the path. The real function gets the same path.
    let st = unsafe { sys::fstatat(own.0, own.1, flags) }.ok()?;
    if !stage.has_prefix_on(st.st_dev) {
        return None;
    }
    let mark = |e: &_| {
        keep_descriptors_of(stage, e, names);
        mark_entry(stage, e, names);
    };
    if !mark_inode(stage, st.st_dev, st.st_ino, mark) {
        entry_by_path(stage, own, follow, &st).iter().for_each(mark);
    }
    Some(st)
}

/// The entry of the file with the attributes `st` that a path leads to, if its inode is not known.
fn entry_by_path(stage: &Stage, at: At, follow: Follow, st: &libc::stat) -> Option<Entry<'static>> {
    if !stage.index().lacks_inodes() {
        return None;
    }
    let flags = libc::O_PATH | libc::O_CLOEXEC | if follow.is_yes() { 0 } else { libc::O_NOFOLLOW };
    // SAFETY: the kernel checks the path.
    let fd = unsafe { sys::openat(at.0, at.1, flags) }.ok()?;
    let e = stage.entry_by_name(fd, st);
    sys::close(fd);
    e
}

/// Exchanges this process's descriptors of the file that a rename is about to replace. A process without staged descriptors
/// does not look for that file.
fn keep_replaced(stage: &Stage, own: At) {
    if !has_staged() {
        return;
    }
    // SAFETY: the kernel checks the path. The real function gets the same path.
    let Ok(st) = (unsafe { sys::fstatat(own.0, own.1, AT_SYMLINK_NOFOLLOW) }) else { return };
    if stage.has_prefix_on(st.st_dev) {
        let keep = |e: &_| keep_descriptors_of(stage, e, Names::MovedHere);
        if !mark_inode(stage, st.st_dev, st.st_ino, keep) {
            entry_by_path(stage, own, Follow::No, &st).iter().for_each(keep);
        }
    }
}

/// Makes a call on a path whose canonical name is longer than a path of the index can be. What it names may still have
/// another name.
pub fn call_on_deep(change: &Change<'_>, own: At, real: Callback<'_, At>) {
    let Change { stage, names, follow, .. } = *change;
    match names {
        Names::Opened { .. } | Names::Added | Names::MovedHere => {}
        Names::Same | Names::Search => {
            mark_object(stage, own, follow, names);
        }
        Names::Removed | Names::MovedAway | Names::Exchanged => {
            mark_object(stage, own, Follow::No, names);
        }
    }
    real.call(own);
}

/// Makes a rename by `real`, and marks what it moves, the old name and the new one.
#[inline(never)]
fn moved(change: &Change<'_>, path: &[u8], own: At, real: Callback<'_, At>) {
    let Change { stage, names, .. } = *change;
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the kernel checks the path, which is the one that the real function gets.
    let Ok(fd) = (unsafe { sys::openat(own.0, own.1, flags) }) else {
        // There may be no descriptor left.
        mark_moved(stage, path, own, names);
        return real.call(own);
    };
    // A rename does not lead from one file system to another.
    change.new_name.set(NewName::ByDescriptor);
    let st = sys::fstat(fd).ok().filter(|st| stage.has_prefix_on(st.st_dev));
    if let Some(st) = &st {
        mark_open(stage, fd, st, |e| {
            keep_descriptors_of(stage, e, names);
            mark_entry(stage, e, names);
        });
        if st.st_mode & S_IFMT == S_IFDIR {
            mark_prefixes_below(stage, fd);
        }
    }
    real.call(own);
    if st.is_some() && change.succeeded.get() {
        mark_name_of(stage, fd, true, Names::MovedHere);
    }
    sys::close(fd);
}

/// Marks every prefix at or below an open directory.
#[inline(never)]
fn mark_prefixes_below(stage: &Stage, fd: c_int) {
    let mut buf = Buffer::zeroed();
    if let Some(canonical) = fd_target(fd, &mut buf) {
        mark_above(stage, canonical);
    }
}

/// Marks the name of an open file on the device of a prefix. `is_new` says whether the name may be new.
#[inline(never)]
fn mark_name_of(stage: &Stage, fd: c_int, is_new: bool, names: Names) {
    let mut buf = Buffer::zeroed();
    let path = match fd_path(fd, &mut buf) {
        Ok(path) => path,
        Err(libc::ENAMETOOLONG) if !stage.has_long_paths() => return,
        // Without /proc the file's name is unknown.
        Err(_) => return stage.close_blind(),
    };
    let inside = stage.view.prefix_of(path).is_some();
    if inside && !stage.view.in_diverged_subtree(path) {
        mark(stage, path, names);
    } else if is_new && (inside || !is_on_mount_of_prefix(stage, fd)) {
        // Below a directory that was replaced or mounted over, the name may be that of any file. On the prefix's own
        // mount, a path outside the prefixes really leads to a file outside. On another mount, such a path may be a
        // second name of a file under the prefix.
        mark_new_name(stage, path, names);
    }
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
    let mut link = Buffer::zeroed();
    let len = ask_kernel(stage, AT_FDCWD, path, Follow::No, &mut link);
    if let Some(canonical) = len.ok().and_then(|len| link.get(..len)) {
        mark_above(stage, canonical);
    }
}

/// Marks the name that a call adds, if the index has its directory.
#[inline(never)]
fn mark_new_name(stage: &Stage, path: &[u8], names: Names) {
    let Some((parent, name)) = at_last_slash(path) else { return };
    let parent = if parent.is_empty() { &b"/"[..] } else { parent };
    let mut text = Buffer::zeroed();
    if join(&mut text, &[parent, b"\0"]).is_none() {
        return;
    }
    // SAFETY: `join` wrote the NUL.
    let Ok(st) = (unsafe { sys::stat(text.as_ptr().cast()) }) else { return };
    if !stage.has_prefix_on(st.st_dev) {
        return;
    }
    let named = entry_by_path(stage, (AT_FDCWD, text.as_ptr().cast()), Follow::Yes, &st);
    let mut mark = |dir: &Entry<'static>| {
        if let Some(len) = join(&mut text, &[dir.path(), name])
            && let Some(path) = text.get(..len)
        {
            keep_descriptors(stage, path, names);
            marks::mark(stage, path, names);
        }
    };
    mark_inode(stage, st.st_dev, st.st_ino, &mut mark);
    named.iter().for_each(mark);
}

/// Marks a file on the device of a prefix that was just opened for writing as `fd`. `st` holds the file's attributes.
/// `makes` says whether the call may have made the file.
#[inline(never)]
pub fn mark_opened_on_prefix(stage: &Stage, fd: c_int, st: &libc::stat, makes: bool) {
    let diverged = &stage.view.diverged;
    let mut inode = None;
    let known = mark_open(stage, fd, st, |e| {
        inode = Some(e.inode());
        if !diverged.has(Mark::Path, e.hash()) {
            mark_entry(stage, e, Names::Same);
        }
    });
    if let Some((dev, ino)) = inode {
        // What is written by one descriptor is read by the others.
        take_originals(stage, Covers::Inode(dev, ino));
    }
    // No other process can open a file without a name.
    if known || st.st_nlink == 0 {
        return;
    }
    mark_name_of(stage, fd, makes, Names::Added);
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
