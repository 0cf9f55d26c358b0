//! Hooks open, openat, creat and their fortified and 64-bit names.
//!
//! An open for reading is redirected to the staged file with the original's bytes. An open for writing goes to the
//! original, and the file is marked as diverged before the call returns.
//!
//! `open` is variadic, but the hook declares a third argument. That is safe: on both architectures the first arguments
//! of a variadic function are in the same registers as those of any other function, and the kernel does not use a mode
//! that was not passed.

use core::ffi::{c_char, c_int};

use libc::{AT_FDCWD, O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY, mode_t};
use pyshm_core::base::sys;
use pyshm_core::decide::view::{Follow, Want};
use pyshm_core::path::argument::PathArg;
use pyshm_core::path::change::Names;
use pyshm_core::path::fast_path::{Look, look};
use pyshm_core::path::reads::{Answer, read_after};
use pyshm_core::path::writes;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::{PATH_ONLY, PATH_ONLY_DIRECTORY, REDIRECTED};

/// Whether an open with these flags may change something.
pub fn writes(flags: c_int) -> bool {
    // O_TMPFILE contains O_DIRECTORY's bit.
    flags & libc::O_ACCMODE != libc::O_RDONLY
        || flags & (O_CREAT | O_TRUNC) != 0
        || flags & libc::O_TMPFILE == libc::O_TMPFILE
}

/// The effect of an open for writing with these flags.
pub fn names(flags: c_int) -> Names {
    Names::Opened { makes: flags & O_CREAT != 0, cuts: flags & O_TRUNC != 0 }
}

/// The flags for opening the staged file. With O_PATH, only a directory is redirected.
pub fn staged_flags(flags: c_int) -> c_int {
    if flags & libc::O_PATH == 0 {
        return flags | REDIRECTED;
    }
    // With O_PATH the kernel ignores all other flags.
    let called = if flags & libc::O_DIRECTORY != 0 { PATH_ONLY_DIRECTORY } else { 0 };
    flags & (O_NOFOLLOW | libc::O_CLOEXEC) | REDIRECTED | PATH_ONLY | called
}

/// Whether the original is to be opened if the open of the staged file failed with `errno`. False for errors that the
/// original would give too.
pub fn retry(errno: c_int) -> bool {
    !matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EINTR)
}

/// Opens a file. `real` gets a directory, a path and flags.
///
/// # Safety
/// `path` as openat requires.
#[inline]
pub unsafe fn open_at(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    real: impl Fn(c_int, *const c_char, c_int) -> c_int,
) -> c_int {
    // SAFETY: the caller guarantees the path.
    unsafe {
        let seen = if writes(flags) { Look::Unclear } else { look(path) };
        match seen {
            Look::Outside => real(dirfd, path, flags),
            seen => staged(seen, dirfd, path, flags, real),
        }
    }
}

/// # Safety
/// As [`open_at`], and `seen` as in [`read_after`].
#[inline(never)]
unsafe fn staged(
    seen: Look,
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    real: impl Fn(c_int, *const c_char, c_int) -> c_int,
) -> c_int {
    let no_follow = flags & O_NOFOLLOW != 0;
    if writes(flags) && flags & libc::O_PATH == 0 {
        let exclusive = flags & (O_CREAT | libc::O_EXCL) == O_CREAT | libc::O_EXCL;
        let arg = PathArg::at(dirfd, path, Follow::unless(no_follow || exclusive));
        // SAFETY: the caller guarantees the path.
        return unsafe {
            writes::write(arg, names(flags), |dirfd, path| {
                let fd = real(dirfd, path, flags);
                writes::mark_opened(fd, flags & O_CREAT != 0);
                fd
            })
        };
    }
    let arg = PathArg::at(dirfd, path, Follow::unless(no_follow));
    // SAFETY: the caller guarantees the path.
    unsafe {
        read_after(seen, arg, Want::Data(flags), |answer| match answer {
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

const CREAT: c_int = O_CREAT | O_WRONLY | O_TRUNC;

hooks! {
    fn open, open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int
        = |real| open_at(AT_FDCWD, path, flags, |_, p, f| real(p, f, mode));
    fn __open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int
        = |real| open::hook(path, flags, mode);
    fn __open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int
        = |real| open64::hook(path, flags, mode);
    fn __open_2, __open64_2(path: *const c_char, flags: c_int) -> c_int
        = |real| open_at(AT_FDCWD, path, flags, |_, p, f| real(p, f));
    fn openat, openat64(dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int
        = |real| open_at(dirfd, path, flags, |d, p, f| real(d, p, f, mode));
    fn __openat_2, __openat64_2(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int
        = |real| open_at(dirfd, path, flags, real);
    fn creat, creat64(path: *const c_char, mode: mode_t) -> c_int
        = |real| open_at(AT_FDCWD, path, CREAT, |_, p, _| real(p, mode));
}
