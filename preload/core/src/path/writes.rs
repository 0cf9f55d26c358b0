//! The entry for calls that change something: the path is marked as diverged, then the original is changed.
//!
//! Invariants:
//! - The mark is made before the call. If the call then fails, the mark only costs speed.
//! - The mark carries the canonical path, with symbolic links resolved. Where the index cannot resolve it (outside the
//!   prefixes, or through something that diverged) the kernel does, by opening the parent with O_PATH.
//! - Writes through a symbolic link outside every prefix are marked too: if its target lies on a prefix's device, the
//!   kernel resolves the canonical path.

use core::ffi::{c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::state::{Mark, Operation};
use pyshm_format::{Entry, Kind, Lookup, hash_path};

use crate::base::scratch::{PATH_MAX, Scratch};
use crate::base::sys;
use crate::base::text::{at_last_slash, put};
use crate::base::thin_callback::{Callback, call_through};
use crate::decide::view::{Follow, Found};
use crate::decide::walk::walk;
use crate::path::argument::{PathArg, bytes};
use crate::path::fd_link;
use crate::path::resolve::absolute;
use crate::stage::current::stage;
use crate::stage::descriptor::fd_target;
use crate::stage::mapped::Stage;

/// What a call does to names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Nothing: the path's own data or attributes change.
    Same,
    /// Nothing, but if the path is a directory, what is below it can no longer be reached.
    Search,
    /// It adds the name if there is none.
    IfMissing,
    /// It adds or removes the name.
    Change,
    /// It moves the name, and everything below it if it is a directory.
    Move,
}

/// Marks what a call that writes to a path changes, and calls `real` with the directory and path to use.
///
/// # Safety
/// `arg.path` as in [`bytes`].
#[inline]
pub unsafe fn write<R>(
    arg: PathArg,
    names: Names,
    real: impl FnOnce(c_int, *const c_char) -> R,
) -> R {
    let Some(stage) = stage() else { return real(arg.dirfd, arg.path) };
    // SAFETY: the caller guarantees what `bytes` asks for.
    let Some(text) = (unsafe { bytes(arg.path) }) else { return real(arg.dirfd, arg.path) };
    let concerned = match text.first() {
        None => false,
        Some(b'/') => {
            fd_link::parse(text).is_some()
                || !matches!(stage.view.find_fast(text, arg.follow), Some(Found::Outside))
                || reaches_prefix(stage, text, arg.follow)
        }
        Some(_) => true,
    };
    if !concerned {
        return real(arg.dirfd, arg.path);
    }
    call_through(|(dirfd, path)| real(dirfd, path), |real| resolved(stage, arg, text, names, real))
}

/// [`write`] for a call on two paths.
///
/// # Safety
/// Both paths as in [`bytes`].
pub unsafe fn write_two<R>(
    old: (PathArg, Names),
    new: (PathArg, Names),
    real: impl FnOnce(c_int, *const c_char, c_int, *const c_char) -> R,
) -> R {
    // SAFETY: the caller guarantees what `write` asks for.
    unsafe {
        write(old.0, old.1, |old_fd, old_path| {
            write(new.0, new.1, |new_fd, new_path| real(old_fd, old_path, new_fd, new_path))
        })
    }
}

/// Marks the file that a descriptor was just opened for writing on, if it lies under a prefix after all.
pub fn mark_opened(fd: c_int) {
    if fd < 0 {
        return;
    }
    let Some(stage) = stage() else { return };
    // Only a file on the device of a prefix can lie under it.
    if sys::fstat(fd).is_ok_and(|st| stage.has_prefix_on(st.st_dev)) {
        mark_opened_on_prefix(stage, fd);
    }
}

#[inline(never)]
fn mark_opened_on_prefix(stage: &Stage, fd: c_int) {
    let mut buf = [0; PATH_MAX];
    let Some(path) = fd_target(fd, &mut buf) else { return };
    if stage.view.prefix_of(path).is_some() && !stage.view.diverged.has(Mark::Path, hash_path(path))
    {
        let names =
            if stage.view.index.lookup(path).is_some() { Names::Same } else { Names::Change };
        mark(stage, path, names);
    }
}

#[inline(never)]
fn resolved(
    stage: &Stage,
    arg: PathArg,
    text: &[u8],
    names: Names,
    real: Callback<'_, (c_int, *const c_char)>,
) {
    let mut buf = [0; PATH_MAX];
    let Some(abs) = absolute(stage, arg.dirfd, text, arg.follow, &mut buf) else {
        // Its absolute spelling is too long, its own may not be too long for the kernel.
        mark_relative(stage, arg, text, names);
        return real.call((arg.dirfd, arg.path));
    };
    if !abs.moved
        && let Some(link) = fd_link::parse(text)
    {
        // A descriptor of the original itself, which the kernel finds by that name.
        if let Some(path) = link.path(arg.follow, &mut buf) {
            locate(stage, path, arg.follow, &mut |canonical| mark(stage, canonical, names));
        }
        return real.call((arg.dirfd, arg.path));
    }
    locate(stage, abs.path, arg.follow, &mut |canonical| mark(stage, canonical, names));
    real.call(abs.argument(arg));
}

/// Marks what a write to a relative path changes whose absolute spelling would be too long.
#[cold]
#[inline(never)]
fn mark_relative(stage: &Stage, arg: PathArg, path: &[u8], names: Names) {
    let mut scratch = Scratch::zeroed();
    ask_kernel(arg.dirfd, path, arg.follow, &mut scratch, &mut |path| {
        if stage.view.prefix_of(path).is_some() {
            mark(stage, path, names);
        }
    });
}

/// Calls `found` with the canonical path that a write to `path` concerns, if it lies under a prefix.
#[inline(never)]
fn locate(stage: &Stage, path: &[u8], follow: Follow, found: &mut dyn FnMut(&[u8])) {
    let view = &stage.view;
    let mut scratch = Scratch::zeroed();
    let walked = walk(view, path, follow, &mut scratch);
    let dots = || path.windows(3).any(|w| w == b"/..");
    match walked.found {
        Found::Entry(e) => found(e.path()),
        Found::Absent { last: true, .. } => found(scratch.path(walked.len)),
        Found::Absent { last: false, .. } => {}
        Found::Outside if !dots() && !reaches_prefix(stage, path, follow) => {}
        _ => ask_kernel(AT_FDCWD, path, follow, &mut scratch, &mut |path| {
            if view.prefix_of(path).is_some() {
                found(path);
            }
        }),
    }
}

/// Whether a path whose spelling is outside the prefixes may lead into one through a symbolic link: its target, or its
/// directory if it has none, lies on the device of a prefix.
#[inline(never)]
fn reaches_prefix(stage: &Stage, path: &[u8], follow: Follow) -> bool {
    // A small buffer, because a signal handler may run on a small stack; `locate` looks at a longer path.
    let mut name = [0; 1024];
    let Some(room) = name.get_mut(..path.len()) else { return true };
    room.copy_from_slice(path);
    let mut on_prefix = |end: usize| {
        *name.get_mut(end)? = 0;
        // SAFETY: a C string.
        let st = unsafe { sys::stat(name.as_ptr().cast()) }.ok()?;
        Some(stage.has_prefix_on(st.st_dev))
    };
    let end = path.iter().rposition(|&b| b != b'/').map_or(path.len(), |i| i + 1);
    if follow.is_yes()
        && let Some(answer) = on_prefix(end)
    {
        return answer;
    }
    let slash = path.iter().take(end).rposition(|&b| b == b'/').unwrap_or(0);
    // The root directory keeps its slash.
    on_prefix(slash.max(1)).unwrap_or(false)
}

/// Calls `found` with the path to which the kernel resolves `path`, or its parent if it does not exist.
fn ask_kernel(
    dirfd: c_int,
    path: &[u8],
    follow: Follow,
    scratch: &mut Scratch,
    found: &mut dyn FnMut(&[u8]),
) {
    let mut link = [0; PATH_MAX];
    let mut resolve = |name: &[u8], tail: &[u8]| -> bool {
        let Some(c) = scratch.c_str(name) else { return false };
        // SAFETY: a C string.
        let fd = unsafe { sys::openat(dirfd, c.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
        let Ok(fd) = fd else { return false };
        let mut n = fd_target(fd, &mut link).map_or(0, <[u8]>::len);
        sys::close(fd);
        if tail.first().is_some_and(|&b| b != b'/') {
            // A name in the directory itself.
            let Some(slash) = link.get_mut(n) else { return false };
            *slash = b'/';
            n += 1;
        }
        let Some(path) = put(&mut link, n, tail).and_then(|end| link.get(..end)) else {
            return false;
        };
        found(path);
        true
    };
    let trimmed =
        path.iter().rposition(|&b| b != b'/').and_then(|i| path.get(..=i)).unwrap_or(path);
    if follow.is_yes() && resolve(trimmed, b"") {
        return;
    }
    let (parent, name) = match at_last_slash(trimmed) {
        None => (&b"."[..], trimmed),
        Some((b"", name)) => (&b"/"[..], name),
        Some(split) => split,
    };
    resolve(parent, name);
}

/// Marks a canonical path.
fn mark(stage: &Stage, path: &[u8], names: Names) {
    let view = &stage.view;
    let hash = hash_path(path);
    let known = view.index.find(path);
    stage.count(Operation::Passed);
    if matches!(names, Names::Same | Names::Search | Names::IfMissing)
        && let Lookup::Found(e) = known
        && e.kind() == Kind::File
        && e.stat().nlink > 1
        && !view.diverged.has(Mark::Path, hash)
    {
        mark_hard_links(stage, &e);
    }
    view.diverged.mark(Mark::Path, hash);
    let changes_listing = match names {
        Names::Same | Names::Search => false,
        Names::IfMissing => known.found().is_none(),
        Names::Change | Names::Move => true,
    };
    let directory = match known {
        Lookup::Found(e) => e.kind() == Kind::Directory,
        Lookup::Absent => false,
        Lookup::Damaged => true,
    };
    if matches!(names, Names::Move | Names::Search) && directory {
        view.diverged.mark(Mark::Subtree, hash);
    }
    if changes_listing && let Some((parent, _)) = at_last_slash(path) {
        view.diverged.mark(Mark::Listing, hash_path(parent));
    }
}

/// Marks every name of a file with hard links: its data and attributes change under all of them.
#[cold]
#[inline(never)]
fn mark_hard_links(stage: &Stage, e: &Entry<'_>) {
    let (index, one) = (stage.index(), e.stat());
    for other in (0..index.len()).filter_map(|number| index.entry(number)) {
        let s = other.stat();
        if (s.ino, s.dev) == (one.ino, one.dev) {
            stage.view.diverged.mark(Mark::Path, other.hash());
        }
    }
}
