//! Writes: where they land is marked diverged, then the original is changed.
//!
//! What must stay true:
//! - The mark is made before the call. A mark for a call that then fails only costs speed.
//! - The mark carries the canonical path, with symbolic links resolved; where the index cannot resolve it (outside
//!   the prefixes, or through something that diverged) the kernel does, by opening the parent with O_PATH.
//! - A path that enters a prefix through a symbolic link outside it, and that is no alias the index knows, is marked as
//!   well: where it leads to the file system of a prefix, the kernel says to which path.

use core::ffi::{CStr, c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::state::Mark;
use pyshm_format::{Entry, Kind, Lookup, hash_path};

use crate::base::scratch::PATH_MAX;
use crate::base::scratch::Scratch;
use crate::base::sys;
use crate::base::text::at_last_slash;
use crate::base::text::put;
use crate::base::thin_callback::Then;
use crate::base::thin_callback::once;
use crate::decide::view::Found;
use crate::decide::walk::walk;
use crate::path::fd_link;
use crate::path::resolve::absolute;
use crate::path::resolve::bytes;
use crate::stage::current::stage;
use crate::stage::descriptor::fd_link;
use crate::stage::mapped::Stage;

/// What a call does to the names in the parent directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Nothing: the path's own data or attributes change.
    Same,
    /// Nothing, but if it is a directory, what is below it can no longer be reached.
    Search,
    /// It adds the name if there is none.
    IfMissing,
    /// It adds or removes the name.
    Change,
    /// It moves the name, and everything below it if it is a directory.
    Move,
}

/// Marks what a write to `path` changes, and calls `real` with the directory and path to use.
///
/// # Safety
/// `path` as in [`bytes`].
#[inline]
pub unsafe fn one<R>(
    dirfd: c_int,
    path: *const c_char,
    follow: bool,
    names: Names,
    real: impl FnOnce(c_int, *const c_char) -> R,
) -> R {
    let Some(stage) = stage() else { return real(dirfd, path) };
    // SAFETY: by the caller's word.
    let Some(text) = (unsafe { bytes(path) }) else { return real(dirfd, path) };
    let concerned = match text.first() {
        None => false,
        Some(b'/') => {
            fd_link::parse(text).is_some()
                || !matches!(stage.view.find_fast(text, follow), Some(Found::Outside))
                || reaches(stage, text, follow)
        }
        Some(_) => true,
    };
    if !concerned {
        return real(dirfd, path);
    }
    once(
        |(dirfd, path)| real(dirfd, path),
        |real| write(stage, dirfd, path, text, follow, names, real),
    )
}

/// The same for two paths.
///
/// # Safety
/// Both paths as in [`bytes`].
pub unsafe fn two<R>(
    old: (c_int, *const c_char, Names),
    new: (c_int, *const c_char, Names),
    follow_old: bool,
    real: impl FnOnce(c_int, *const c_char, c_int, *const c_char) -> R,
) -> R {
    // A directory that moves takes everything below it to its new name too.
    // SAFETY: by the caller's word.
    unsafe {
        one(old.0, old.1, follow_old, old.2, |old_fd, old_path| {
            one(new.0, new.1, false, new.2, |new_fd, new_path| {
                real(old_fd, old_path, new_fd, new_path)
            })
        })
    }
}

/// Marks the file that a descriptor was just opened for writing on, if it lies under a prefix after all.
pub fn opened(fd: c_int) {
    if fd < 0 {
        return;
    }
    let Some(stage) = stage() else { return };
    // Only what lies on the file system of a prefix can lie under it.
    if sys::fstat(fd).is_ok_and(|st| stage.has_prefix_on(st.st_dev)) {
        opened_slow(stage, fd);
    }
}

#[inline(never)]
fn opened_slow(stage: &Stage, fd: c_int) {
    let mut buf = [0; PATH_MAX];
    let Some(path) = fd_link(fd, &mut buf) else { return };
    if stage.view.prefix_of(path).is_some() && !stage.view.diverged.has(Mark::Path, hash_path(path))
    {
        let names =
            if stage.view.index.lookup(path).is_some() { Names::Same } else { Names::Change };
        mark(stage, path, names);
    }
}

#[inline(never)]
fn write(
    stage: &Stage,
    dirfd: c_int,
    path: *const c_char,
    text: &[u8],
    follow: bool,
    names: Names,
    real: Then<'_, (c_int, *const c_char)>,
) {
    let mut buf = [0; PATH_MAX];
    let Some(abs) = absolute(stage, dirfd, text, follow, &mut buf) else {
        // Too long to be made absolute, but not for the kernel.
        relative(stage, dirfd, text, follow, names);
        return real.call((dirfd, path));
    };
    if !abs.moved
        && let Some(link) = fd_link::parse(text)
    {
        // A descriptor of the original itself, which the kernel finds by that name.
        if let Some(path) = link.path(follow, &mut buf) {
            locate(stage, path, follow, &mut |canonical| mark(stage, canonical, names));
        }
        return real.call((dirfd, path));
    }
    let own = if abs.moved { (AT_FDCWD, abs.path.as_ptr().cast()) } else { (dirfd, path) };
    locate(stage, abs.path, follow, &mut |canonical| mark(stage, canonical, names));
    real.call(own);
}

/// Marks what a write concerns whose relative name has no absolute spelling of a length that is allowed.
#[cold]
#[inline(never)]
fn relative(stage: &Stage, dirfd: c_int, path: &[u8], follow: bool, names: Names) {
    let mut scratch = Scratch::new();
    by_kernel(dirfd, path, follow, &mut scratch, &mut |path| {
        if stage.view.prefix_of(path).is_some() {
            mark(stage, path, names);
        }
    });
}

/// Finds the canonical path that a write to `path` concerns, if it lies under a prefix.
#[inline(never)]
fn locate(stage: &Stage, path: &[u8], follow: bool, found: &mut dyn FnMut(&[u8])) {
    let view = &stage.view;
    let mut scratch = Scratch::new();
    let walked = walk(view, path, follow, &mut scratch);
    let dots = || path.windows(3).any(|w| w == b"/..");
    match walked.found {
        Found::Entry(e) => found(e.path()),
        Found::Absent { last: true, .. } => found(scratch.path(walked.len)),
        Found::Absent { last: false, .. } => {}
        Found::Outside if !dots() && !reaches(stage, path, follow) => {}
        _ => by_kernel(AT_FDCWD, path, follow, &mut scratch, &mut |path| {
            if view.prefix_of(path).is_some() {
                found(path);
            }
        }),
    }
}

/// Whether a path whose spelling is outside the prefixes may lead into one all the same, through a symbolic link that no
/// alias of a prefix names: what it leads to, or where that is missing its directory, lies on the file system of a prefix.
#[inline(never)]
fn reaches(stage: &Stage, path: &[u8], follow: bool) -> bool {
    // Little, because a signal handler may run on a small stack; a longer path is looked at by `locate`.
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
    if follow && let Some(answer) = on_prefix(end) {
        return answer;
    }
    let slash = path.iter().take(end).rposition(|&b| b == b'/').unwrap_or(0);
    // The root directory keeps its slash.
    on_prefix(slash.max(1)).unwrap_or(false)
}

/// Lets the kernel resolve `path`, or where it does not exist its parent.
fn by_kernel(
    dirfd: c_int,
    path: &[u8],
    follow: bool,
    scratch: &mut Scratch,
    found: &mut dyn FnMut(&[u8]),
) {
    let mut link = [0; PATH_MAX];
    let mut resolve = |name: &[u8], tail: &[u8]| -> bool {
        let Some(c) = scratch.c_str(name) else { return false };
        // SAFETY: a C string.
        let fd = unsafe { sys::openat(dirfd, c.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
        let Ok(fd) = fd else { return false };
        let mut n = fd_link(fd, &mut link).map_or(0, <[u8]>::len);
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
    if follow && resolve(trimmed, b"") {
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
    stage.count(false);
    if matches!(names, Names::Same | Names::Search | Names::IfMissing)
        && let Lookup::Found(e) = known
        && e.kind() == Kind::File
        && e.stat().nlink > 1
        && !view.diverged.has(Mark::Path, hash)
    {
        other_names(stage, &e);
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
fn other_names(stage: &Stage, e: &Entry<'_>) {
    let (index, one) = (stage.index(), e.stat());
    for other in (0..index.len()).filter_map(|number| index.entry(number)) {
        let s = other.stat();
        if (s.ino, s.dev) == (one.ino, one.dev) {
            stage.view.diverged.mark(Mark::Path, other.hash());
        }
    }
}

impl Scratch {
    /// A copy of `path` as a C string.
    fn c_str(&mut self, path: &[u8]) -> Option<&CStr> {
        self.set(path)?;
        CStr::from_bytes_with_nul(self.path_nul(path.len())).ok()
    }
}
