//! The entry for calls that change something: what changes is marked as diverged, and the original is changed.
//!
//! Invariants:
//! - No call returns to the program before what it changed is marked. Where the recorded permissions say that a call may succeed,
//!   the mark even comes before the call; else it comes after the call has succeeded, so that calls that fail leave no marks.
//! - A path that is spelled under a prefix is resolved by the index, and where the index cannot, by the kernel.
//! - A path that is spelled outside every prefix may still lead to a file of one: by a symbolic link, a hard link or another mount.
//!   Such a file is known by its device and inode ([`crate::path::outside`]).

use core::cell::Cell;
use core::ffi::{c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::Kind;
use pyshm_format::state::Operation;

use crate::base::scratch::{PATH_MAX, Scratch};
use crate::base::sys;
use crate::base::text::{at_last_slash, put};
use crate::base::thin_callback::{Callback, call_through};
use crate::decide::view::{Follow, Found};
use crate::decide::walk::walk;
use crate::path::argument::{PathArg, bytes};
use crate::path::resolve::{absolute, unresolved};
use crate::path::{fd_link, marks, outside};
use crate::stage::current::stage;
use crate::stage::descriptor::fd_target;
use crate::stage::mapped::Stage;

/// What a call does to the file that its path names, and to the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// The data or the attributes of the file change.
    Same,
    /// The attributes change. If the path is a directory, what is below it can no longer be reached.
    Search,
    /// The file is opened for writing. Its data changes later, by the descriptor.
    Opened {
        /// The name is added if there is none.
        makes: bool,
        /// The file becomes empty.
        cuts: bool,
    },
    /// The name is added.
    Added,
    /// The name is removed.
    Removed,
    /// The name is removed, and what it named gets another name.
    MovedAway,
    /// The name is added or replaced by a file that had another name.
    MovedHere,
    /// The name changes places with another one.
    Exchanged,
}

impl Names {
    /// Whether the names in the parent directory change, if the name is known.
    pub fn change(self) -> bool {
        !matches!(self, Self::Same | Self::Search | Self::Opened { .. })
    }

    /// Whether what is below the path, if that is a directory, can no longer be reached by this path.
    pub fn hide_subtree(self) -> bool {
        matches!(self, Self::Search | Self::MovedAway | Self::MovedHere | Self::Exchanged)
    }
}

/// Whether a call of libc's has succeeded.
pub trait Outcome {
    /// Whether the result is no failure.
    fn succeeded(&self) -> bool;
}

impl Outcome for () {
    fn succeeded(&self) -> bool {
        true
    }
}

impl Outcome for c_int {
    fn succeeded(&self) -> bool {
        *self >= 0
    }
}

impl<T> Outcome for *mut T {
    fn succeeded(&self) -> bool {
        !self.is_null()
    }
}

/// A directory and a path for the real function.
pub type At = (c_int, *const c_char);

/// A call that changes something.
pub struct Change<'a> {
    /// The stage.
    pub stage: &'a Stage,
    /// What the call does.
    pub names: Names,
    /// Whether the call follows a symbolic link at the end of its path.
    pub follow: Follow,
    /// Whether the call has succeeded; false before it.
    succeeded: &'a Cell<bool>,
}

/// Calls `real` with the directory and path to use, and marks what the call changes.
///
/// # Safety
/// `arg.path` as in [`bytes`].
#[inline]
pub unsafe fn write<R: Outcome>(
    arg: PathArg,
    names: Names,
    real: impl FnOnce(c_int, *const c_char) -> R,
) -> R {
    let Some(stage) = stage() else { return real(arg.dirfd, arg.path) };
    // SAFETY: the caller guarantees what `bytes` asks for.
    let Some(text) = (unsafe { bytes(arg.path) }) else { return real(arg.dirfd, arg.path) };
    let concerned = match text.first() {
        None => false,
        // A file that is opened outside is known by its descriptor afterwards.
        Some(b'/') => {
            !matches!(names, Names::Opened { .. })
                || !matches!(stage.view.find_fast(text, arg.follow), Some(Found::Outside))
                || fd_link::parse(text).is_some()
        }
        Some(_) => true,
    };
    if !concerned {
        return real(arg.dirfd, arg.path);
    }
    let succeeded = Cell::new(false);
    call_through(
        |(dirfd, path)| {
            let result = real(dirfd, path);
            succeeded.set(result.succeeded());
            result
        },
        |real| {
            let change = Change { stage, names, follow: arg.follow, succeeded: &succeeded };
            resolved(&change, arg, text, real);
        },
    )
}

/// [`write`] for a call on two paths.
///
/// # Safety
/// Both paths as in [`bytes`].
pub unsafe fn write_two<R: Outcome>(
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

/// Marks the file that a descriptor was just opened for writing on, if it is a file of a prefix, by whatever path. `makes`: the
/// call may have made the file.
pub fn mark_opened(fd: c_int, makes: bool) {
    if fd < 0 {
        return;
    }
    let Some(stage) = stage() else { return };
    let Ok(st) = sys::fstat(fd) else { return };
    if stage.has_prefix_on(st.st_dev) {
        outside::mark_opened_on_prefix(stage, fd, &st, makes);
    }
}

#[inline(never)]
fn resolved(change: &Change<'_>, arg: PathArg, text: &[u8], real: Callback<'_, At>) {
    let mut buf = [0; PATH_MAX];
    let Some(abs) = absolute(change.stage, arg.dirfd, text, arg.follow, &mut buf) else {
        // The absolute spelling is too long; the caller's own may not be too long for the kernel.
        return by_kernel(change, arg.dirfd, text, unresolved(arg), real);
    };
    if !abs.moved
        && let Some(link) = fd_link::parse(text)
    {
        // A descriptor of the original itself, which the kernel finds by that name.
        return match link.path(arg.follow, &mut buf) {
            Some(path) => located(change, path, (arg.dirfd, arg.path), real),
            None => real.call((arg.dirfd, arg.path)),
        };
    }
    let own = abs.argument(arg);
    if let Some(Found::Outside) = change.stage.view.find_fast(abs.path, arg.follow) {
        return outside::call(change, abs.path, own, real);
    }
    located(change, abs.path, own, real);
}

/// Makes the call on an absolute path, `own` for the real function.
#[inline(never)]
fn located(change: &Change<'_>, path: &[u8], own: At, real: Callback<'_, At>) {
    let mut scratch = Scratch::zeroed();
    let walked = walk(&change.stage.view, path, change.follow, &mut scratch);
    match walked.found {
        Found::Entry(e) => inside(change, e.path(), true, own, real),
        Found::Absent { last, .. } => inside(change, scratch.path(walked.len), last, own, real),
        // The name may be a link to another file, which an opened descriptor tells afterwards.
        Found::Unlisted
            if !change.follow.is_yes() || matches!(change.names, Names::Opened { .. }) =>
        {
            inside(change, scratch.path(walked.len), true, own, real);
        }
        Found::Outside if !path.windows(3).any(|w| w == b"/..") => {
            outside::call(change, path, own, real);
        }
        _ => by_kernel(change, AT_FDCWD, path, own, real),
    }
}

/// Makes the call on a path that only the kernel can resolve.
#[inline(never)]
fn by_kernel(change: &Change<'_>, dirfd: c_int, path: &[u8], own: At, real: Callback<'_, At>) {
    let mut link = [0; PATH_MAX];
    let canonical = ask_kernel(change.stage, dirfd, path, change.follow, &mut link);
    let Some(canonical) = canonical.and_then(|len| link.get(..len)) else {
        return real.call(own);
    };
    if change.stage.view.prefix_of(canonical).is_some() {
        // It may be another spelling of the prefix itself, which is a link outside.
        if change.names.hide_subtree() || change.names == Names::Removed {
            outside::mark_above(change.stage, canonical);
        }
        inside(change, canonical, true, own, real);
    } else {
        outside::call(change, canonical, own, real);
    }
}

/// Makes the call on a canonical path under a prefix. `reachable`: the directory of the path exists, as far as the index knows.
fn inside(change: &Change<'_>, path: &[u8], reachable: bool, own: At, real: Callback<'_, At>) {
    let Change { stage, names, .. } = *change;
    stage.count(Operation::Passed);
    let before = reachable && marks::may_succeed(stage, path, names);
    if before {
        marks::mark(stage, path, names);
    }
    real.call(own);
    if !before && change.succeeded.get() && !is_directory_opened(stage, path, names) {
        marks::mark(stage, path, names);
    }
}

/// Whether a call has opened a directory, which it can do for writing only to make a file without a name (O_TMPFILE).
fn is_directory_opened(stage: &Stage, path: &[u8], names: Names) -> bool {
    matches!(names, Names::Opened { makes: false, cuts: false })
        && stage.index().lookup(path).is_some_and(|e| e.kind() == Kind::Directory)
}

/// Writes the path to which the kernel resolves `path`, or its parent if it does not exist, into `link`, and gives its length.
/// Where no descriptor is left or `/proc` is missing, nobody knows the path, and the stage is closed.
#[inline(never)]
pub fn ask_kernel(
    stage: &Stage,
    dirfd: c_int,
    path: &[u8],
    follow: Follow,
    link: &mut [u8; PATH_MAX],
) -> Option<usize> {
    let mut scratch = Scratch::zeroed();
    let mut resolve = |name: &[u8], tail: &[u8]| -> Option<usize> {
        let c = scratch.c_str(name)?;
        // SAFETY: a C string.
        let fd = match unsafe { sys::openat(dirfd, c.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) } {
            Ok(fd) => fd,
            Err(e) => {
                if matches!(e, libc::EMFILE | libc::ENFILE | libc::ENOMEM) {
                    stage.close_blind();
                }
                return None;
            }
        };
        let target = fd_target(fd, link).map(<[u8]>::len);
        sys::close(fd);
        let Some(mut len) = target else {
            stage.close_blind();
            return None;
        };
        if tail.first().is_some_and(|&b| b != b'/') {
            // A name in the directory itself.
            *link.get_mut(len)? = b'/';
            len += 1;
        }
        put(link, len, tail)
    };
    let trimmed =
        path.iter().rposition(|&b| b != b'/').and_then(|i| path.get(..=i)).unwrap_or(path);
    if follow.is_yes()
        && let Some(len) = resolve(trimmed, b"")
    {
        return Some(len);
    }
    let (parent, name) = match at_last_slash(trimmed) {
        None => (&b"."[..], trimmed),
        Some((b"", name)) => (&b"/"[..], name),
        Some(split) => split,
    };
    resolve(parent, name)
}
