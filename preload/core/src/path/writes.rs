//! Handles calls that change something: marks the change as diverged and makes the call on the original.
//!
//! Invariants:
//! - A change is marked before the call returns to the program. If the recorded permissions say that the call itself
//!   may change something, the mark is set before the call. Otherwise the mark is set after the call has succeeded, so
//!   that calls that fail leave no marks.
//! - The index resolves a path that is spelled under a prefix. If the index cannot resolve the path, the kernel does.
//! - A path that is spelled outside every prefix may still lead to a file of a prefix: by a symbolic link, a hard link
//!   or another mount. Such a file is recognised by its device and inode ([`crate::path::outside`]).

use core::cell::Cell;
use core::ffi::{c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::Kind;
use pyshm_format::state::Operation;

use crate::base::scratch::{PATH_MAX, Scratch};
use crate::base::sys;
use crate::base::thin_callback::{Callback, call_through};
use crate::decide::view::Found;
use crate::decide::walk::walk;
use crate::path::argument::{PathArg, bytes};
use crate::path::canonical::ask_kernel;
use crate::path::change::{At, Change, Names, Outcome};
use crate::path::resolve::absolute;
use crate::path::{fd_link, marks, outside};
use crate::stage::current::stage;
use crate::stage::mapped::Stage;

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
        // After an open by a path outside, the file is recognised by its descriptor.
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
            call_and_mark(&change, arg, text, real);
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

/// Marks the file that was just opened for writing as `fd`, if the file lies under a prefix. The path of the open does
/// not matter. `makes` says whether the call may have made the file.
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
fn call_and_mark(change: &Change<'_>, arg: PathArg, text: &[u8], real: Callback<'_, At>) {
    let mut buf = [0; PATH_MAX];
    let Some(abs) = absolute(change.stage, arg.dirfd, text, arg.follow, &mut buf) else {
        // The absolute spelling is too long, but the kernel may still accept the caller's own.
        return call_resolved_by_kernel(change, arg.dirfd, text, (arg.dirfd, arg.path), real);
    };
    if !abs.moved
        && let Some(link) = fd_link::parse(text)
    {
        // The name leads through a descriptor of the original, so the kernel follows the name to the right file.
        return match link.path(arg.follow, &mut buf) {
            Some(path) => call_on_absolute(change, path, (arg.dirfd, arg.path), real),
            None => real.call((arg.dirfd, arg.path)),
        };
    }
    let own = abs.argument(arg);
    if let Some(Found::Outside) = change.stage.view.find_fast(abs.path, arg.follow) {
        return outside::call(change, abs.path, own, real);
    }
    call_on_absolute(change, abs.path, own, real);
}

/// Makes the call on an absolute path. The real function gets the directory and path in `own`.
#[inline(never)]
fn call_on_absolute(change: &Change<'_>, path: &[u8], own: At, real: Callback<'_, At>) {
    let mut scratch = Scratch::zeroed();
    let walked = walk(&change.stage.view, path, change.follow, &mut scratch);
    match walked.found {
        Found::Entry(e) => call_on_canonical(change, e.path(), true, own, real),
        Found::Absent { last, .. } => {
            call_on_canonical(change, scratch.path(walked.len), last, own, real)
        }
        // The name may be a link to another file. For an open, the descriptor shows afterwards which file was opened.
        Found::Unlisted
            if !change.follow.is_yes() || matches!(change.names, Names::Opened { .. }) =>
        {
            call_on_canonical(change, scratch.path(walked.len), true, own, real);
        }
        Found::Outside if !path.windows(3).any(|w| w == b"/..") => {
            outside::call(change, path, own, real);
        }
        _ => call_resolved_by_kernel(change, AT_FDCWD, path, own, real),
    }
}

/// Makes the call on a path that only the kernel can resolve.
#[inline(never)]
fn call_resolved_by_kernel(
    change: &Change<'_>,
    dirfd: c_int,
    path: &[u8],
    own: At,
    real: Callback<'_, At>,
) {
    let mut link = [0; PATH_MAX];
    let canonical = ask_kernel(dirfd, path, change.follow, &mut link);
    let Some(canonical) = canonical.and_then(|len| link.get(..len)) else {
        return real.call(own);
    };
    if change.stage.view.prefix_of(canonical).is_some() {
        // The caller's path may be a symbolic link to the prefix itself.
        if change.names.hides_subtree() || change.names == Names::Removed {
            outside::mark_above(change.stage, canonical);
        }
        call_on_canonical(change, canonical, true, own, real);
    } else {
        outside::call(change, canonical, own, real);
    }
}

/// Makes the call on a canonical path under a prefix. `reachable` says whether the path's directory exists, as far as
/// the index knows.
fn call_on_canonical(
    change: &Change<'_>,
    path: &[u8],
    reachable: bool,
    own: At,
    real: Callback<'_, At>,
) {
    let Change { stage, names, .. } = *change;
    stage.count(Operation::Passed);
    let before = reachable && marks::call_may_change(stage, path, names);
    if before {
        marks::mark(stage, path, names);
    }
    real.call(own);
    if !before && change.succeeded.get() && !is_directory_opened(stage, path, names) {
        marks::mark(stage, path, names);
    }
}

/// Whether an open for writing has opened a directory. That is possible only with O_TMPFILE, which makes a file without
/// a name.
fn is_directory_opened(stage: &Stage, path: &[u8], names: Names) -> bool {
    matches!(names, Names::Opened { makes: false, cuts: false })
        && stage.index().lookup(path).is_some_and(|e| e.kind() == Kind::Directory)
}
