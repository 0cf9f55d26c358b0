//! access and its kin, answered from the recorded mode and owner.

use core::ffi::{c_char, c_int};

use libc::AT_FDCWD;

use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::fast_path::passes;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::path::resolve::original;
use pyshm_core::stage::permission::check;

/// # Safety
/// `path` as access requires.
#[inline]
unsafe fn access_at(
    dirfd: c_int,
    path: *const c_char,
    want: c_int,
    follow: bool,
    effective: bool,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe {
        match passes(path) {
            true => real(dirfd, path),
            false => staged(dirfd, path, want, follow, effective, real),
        }
    }
}

/// # Safety
/// `path` as access requires.
#[inline(never)]
unsafe fn staged(
    dirfd: c_int,
    path: *const c_char,
    want: c_int,
    follow: bool,
    effective: bool,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    // Refused before the path is looked at; libc's own functions differ in what they let through.
    if want & !(libc::R_OK | libc::W_OK | libc::X_OK) != 0 {
        return real(dirfd, path);
    }
    // SAFETY: by the caller's word.
    unsafe {
        ask(dirfd, path, follow, Want::Attributes, |answer| match answer {
            Answer::Pass(dirfd, path) => real(dirfd, path),
            Answer::Absent(e) => sys::fail(e),
            Answer::Redirect(e) => match check(&e, want, effective) {
                Ok(()) => 0,
                Err(e) => sys::fail(e),
            },
        })
    }
}

/// # Safety
/// As faccessat.
pub(crate) unsafe fn access_with_flags(
    dirfd: c_int,
    path: *const c_char,
    want: c_int,
    flags: c_int,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    const KNOWN: c_int = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EACCESS | libc::AT_EMPTY_PATH;
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    if flags & !KNOWN != 0 {
        // SAFETY: by the caller's word.
        return unsafe { original(dirfd, path, follow, flags & libc::AT_EMPTY_PATH != 0, real) };
    }
    let effective = flags & libc::AT_EACCESS != 0;
    // SAFETY: by the caller's word.
    unsafe { access_at(dirfd, path, want, follow, effective, real) }
}

hooks! {
    unsafe fn access(path: *const c_char, want: c_int) -> c_int => my_access {
        // SAFETY: the caller's own arguments.
        unsafe { access_at(AT_FDCWD, path, want, true, false, |_, p| real!(access)(p, want)) }
    }
    unsafe fn eaccess(path: *const c_char, want: c_int) -> c_int => my_eaccess {
        // SAFETY: the caller's own arguments.
        unsafe { access_at(AT_FDCWD, path, want, true, true, |_, p| real!(eaccess)(p, want)) }
    }
    unsafe fn euidaccess(path: *const c_char, want: c_int) -> c_int => my_euidaccess {
        // SAFETY: the caller's own arguments.
        unsafe { access_at(AT_FDCWD, path, want, true, true, |_, p| real!(euidaccess)(p, want)) }
    }
    unsafe fn faccessat(dirfd: c_int, path: *const c_char, want: c_int, flags: c_int) -> c_int => my_faccessat {
        // SAFETY: the caller's own arguments.
        unsafe { access_with_flags(dirfd, path, want, flags, |d, p| real!(faccessat)(d, p, want, flags)) }
    }
}
