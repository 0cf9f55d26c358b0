//! Answers access and related functions from the recorded mode and owner.

use core::ffi::{c_char, c_int};

use pyshm_core::base::sys::{self, Ids};
use pyshm_core::decide::view::Want;
use pyshm_core::path::argument::PathArg;
use pyshm_core::path::fast_path::{Look, look};
use pyshm_core::path::originals::{EmptyPath, original};
use pyshm_core::path::reads::{Answer, read_after};
use pyshm_core::stage::permission::check;

/// Checks whether the user with these `ids` has the access `want`.
///
/// # Safety
/// `arg.path` as access requires.
#[inline]
unsafe fn access_as(
    arg: PathArg,
    want: c_int,
    ids: Ids,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    // SAFETY: the caller guarantees the path.
    unsafe {
        match look(arg.path) {
            Look::Outside => real(arg.dirfd, arg.path),
            seen => staged(seen, arg, want, ids, real),
        }
    }
}

/// # Safety
/// As [`access_as`], and `seen` as in [`read_after`].
#[inline(never)]
unsafe fn staged(
    seen: Look,
    arg: PathArg,
    want: c_int,
    ids: Ids,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    // libc's functions refuse unknown bits before they read the path, and differ in the bits that they accept.
    if want & !(libc::R_OK | libc::W_OK | libc::X_OK) != 0 {
        return real(arg.dirfd, arg.path);
    }
    // SAFETY: the caller guarantees the path.
    unsafe {
        read_after(seen, arg, Want::Attributes, |answer| match answer {
            Answer::Pass(dirfd, path) => real(dirfd, path),
            Answer::Absent(e) => sys::fail(e),
            Answer::Redirect(e) => match check(&e, want, ids) {
                Ok(()) => 0,
                Err(e) => sys::fail(e),
            },
        })
    }
}

/// The hook of faccessat. `real` is called if the path passes.
///
/// # Safety
/// As faccessat.
pub unsafe fn access_by_flags(
    dirfd: c_int,
    path: *const c_char,
    want: c_int,
    flags: c_int,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    const KNOWN: c_int = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EACCESS | libc::AT_EMPTY_PATH;
    let arg = PathArg::by_flags(dirfd, path, flags);
    if flags & !KNOWN != 0 {
        // SAFETY: the caller guarantees the path.
        return unsafe { original(arg, EmptyPath::by_flags(flags), real) };
    }
    let ids = if flags & libc::AT_EACCESS != 0 { Ids::Effective } else { Ids::Real };
    // SAFETY: the caller guarantees the path.
    unsafe { access_as(arg, want, ids, real) }
}

hooks! {
    fn access(path: *const c_char, want: c_int) -> c_int
        = |real| access_as(PathArg::followed(path), want, Ids::Real, |_, p| real(p, want));
    fn eaccess, euidaccess(path: *const c_char, want: c_int) -> c_int
        = |real| access_as(PathArg::followed(path), want, Ids::Effective, |_, p| real(p, want));
    fn faccessat(dirfd: c_int, path: *const c_char, want: c_int, flags: c_int) -> c_int
        = |real| access_by_flags(dirfd, path, want, flags, |d, p| real(d, p, want, flags));
}
