//! open, openat, creat and their fortified and 64-bit names.
//!
//! Reading is redirected to the staged file with the original's bytes. Writing goes to the original, and the path
//! is marked diverged before the kernel sees the call. The third argument is declared always: `open` is variadic,
//! but on both architectures the first arguments of a variadic function stand in the same registers, and one that
//! was not passed is never looked at by the kernel.

use core::ffi::{c_char, c_int};

use libc::{AT_FDCWD, O_CREAT, O_NOFOLLOW, mode_t};

use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::fast_path::passes;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::path::writes;
use pyshm_core::path::writes::Names;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::PATH_ONLY;
use pyshm_core::stage::descriptor::PATH_ONLY_DIRECTORY;
use pyshm_core::stage::descriptor::REDIRECTED;

/// Whether an open with these flags may change something.
pub fn writes(flags: c_int) -> bool {
    // O_TMPFILE contains O_DIRECTORY's bit.
    flags & libc::O_ACCMODE != libc::O_RDONLY
        || flags & (O_CREAT | libc::O_TRUNC) != 0
        || flags & libc::O_TMPFILE == libc::O_TMPFILE
}

/// Flags for the staged file in place of `flags`. Only a directory is opened with O_PATH.
pub fn staged_flags(flags: c_int) -> c_int {
    match flags & libc::O_PATH {
        0 => flags | REDIRECTED,
        // The kernel looks at no other flags beside O_PATH.
        _ => {
            let called = if flags & libc::O_DIRECTORY != 0 { PATH_ONLY_DIRECTORY } else { 0 };
            flags & (O_NOFOLLOW | libc::O_CLOEXEC) | REDIRECTED | PATH_ONLY | called
        }
    }
}

/// Whether a staged file could not be opened because it is no longer there or not usable: the original is tried.
pub fn retry(errno: c_int) -> bool {
    !matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EINTR)
}

/// Opens as decided; `real` is the caller's own function.
///
/// # Safety
/// `path` as the real function requires.
#[inline]
pub(crate) unsafe fn open_at(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    real: impl Fn(c_int, *const c_char, c_int) -> c_int,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe {
        match !writes(flags) && passes(path) {
            true => real(dirfd, path, flags),
            false => staged(dirfd, path, flags, real),
        }
    }
}

/// # Safety
/// As [`open_at`].
#[inline(never)]
unsafe fn staged(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    real: impl Fn(c_int, *const c_char, c_int) -> c_int,
) -> c_int {
    let follow = flags & O_NOFOLLOW == 0;
    if writes(flags) && flags & libc::O_PATH == 0 {
        let follow = follow && flags & (O_CREAT | libc::O_EXCL) != O_CREAT | libc::O_EXCL;
        let names = if flags & O_CREAT != 0 { Names::IfMissing } else { Names::Same };
        // SAFETY: by the caller's word.
        return unsafe {
            writes::one(dirfd, path, follow, names, |dirfd, path| {
                let fd = real(dirfd, path, flags);
                writes::opened(fd);
                fd
            })
        };
    }
    // SAFETY: by the caller's word.
    unsafe {
        ask(dirfd, path, follow, Want::Data(flags), |answer| match answer {
            Answer::Pass(dirfd, path) => real(dirfd, path, flags),
            Answer::Absent(e) => sys::fail(e),
            Answer::Redirect(e) => {
                let before = sys::errno();
                let fd = real(AT_FDCWD, e.pristine().as_ptr().cast(), staged_flags(flags));
                if fd >= 0 {
                    if let Some(stage) = stage() {
                        stage.remember(fd, &e);
                    }
                    return fd;
                }
                if !retry(sys::errno()) {
                    return fd;
                }
                sys::set_errno(before);
                real(AT_FDCWD, e.path().as_ptr().cast(), flags)
            }
        })
    }
}

hooks! {
    unsafe fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => my_open {
        // SAFETY: the caller's own arguments.
        unsafe { open_at(AT_FDCWD, path, flags, |_, p, f| real!(open)(p, f, mode)) }
    }
    unsafe fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => my_open64 {
        // SAFETY: the caller's own arguments.
        unsafe { open_at(AT_FDCWD, path, flags, |_, p, f| real!(open64)(p, f, mode)) }
    }
    unsafe fn __open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => alt_open {
        // SAFETY: the caller's own arguments.
        unsafe { open_at(AT_FDCWD, path, flags, |_, p, f| real!(open)(p, f, mode)) }
    }
    unsafe fn __open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => alt_open64 {
        // SAFETY: the caller's own arguments.
        unsafe { open_at(AT_FDCWD, path, flags, |_, p, f| real!(open64)(p, f, mode)) }
    }
    unsafe fn __open_2(path: *const c_char, flags: c_int) -> c_int => alt_open_2 {
        // SAFETY: the caller's own arguments.
        unsafe { open_at(AT_FDCWD, path, flags, |_, p, f| real!(__open_2)(p, f)) }
    }
    unsafe fn __open64_2(path: *const c_char, flags: c_int) -> c_int => alt_open64_2 {
        // SAFETY: the caller's own arguments.
        unsafe { open_at(AT_FDCWD, path, flags, |_, p, f| real!(__open64_2)(p, f)) }
    }
    unsafe fn openat(dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int => my_openat {
        // SAFETY: the caller's own arguments.
        unsafe { open_at(dirfd, path, flags, |d, p, f| real!(openat)(d, p, f, mode)) }
    }
    unsafe fn openat64(dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int => my_openat64 {
        // SAFETY: the caller's own arguments.
        unsafe { open_at(dirfd, path, flags, |d, p, f| real!(openat64)(d, p, f, mode)) }
    }
    unsafe fn __openat_2(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int => alt_openat_2 {
        // SAFETY: the caller's own arguments.
        unsafe { open_at(dirfd, path, flags, |d, p, f| real!(__openat_2)(d, p, f)) }
    }
    unsafe fn __openat64_2(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int => alt_openat64_2 {
        // SAFETY: the caller's own arguments.
        unsafe { open_at(dirfd, path, flags, |d, p, f| real!(__openat64_2)(d, p, f)) }
    }
    unsafe fn creat(path: *const c_char, mode: mode_t) -> c_int => my_creat {
        let flags = O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
        // SAFETY: the caller's own arguments.
        unsafe { open_at(AT_FDCWD, path, flags, |_, p, _| real!(creat)(p, mode)) }
    }
    unsafe fn creat64(path: *const c_char, mode: mode_t) -> c_int => my_creat64 {
        let flags = O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
        // SAFETY: the caller's own arguments.
        unsafe { open_at(AT_FDCWD, path, flags, |_, p, _| real!(creat64)(p, mode)) }
    }
}
