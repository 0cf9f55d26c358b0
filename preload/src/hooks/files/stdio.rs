//! Hooks fopen, freopen and setmntent. libc opens the file without reaching a hook of open, so these hooks replace the
//! path.

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::{AT_FDCWD, FILE};
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::path::writes;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::mark_redirected;
use pyshm_core::stage::swap_fd::swap_fd;

use crate::hooks::files::open::{names, retry};
use crate::libc_calls::lazy_libc;

/// The flags of open for a mode string.
fn flags(mode: &[u8]) -> c_int {
    // A character set may follow a comma.
    let letters = mode.split(|&b| b == b',').next().unwrap_or(mode);
    match letters.first() {
        Some(b'r') if !letters.contains(&b'+') => libc::O_RDONLY,
        Some(b'r') => libc::O_RDWR,
        Some(b'w') => libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC,
        _ => libc::O_RDWR | libc::O_CREAT,
    }
}

/// Opens a stream. `real` gets the path.
///
/// # Safety
/// `path` and `mode` as fopen requires.
unsafe fn fopen_as(
    path: *const c_char,
    mode: *const c_char,
    real: impl Fn(*const c_char) -> *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller keeps the contract of fopen.
    unsafe {
        let Some(letters) = bytes(mode) else { return real(path) };
        let (arg, flags) = (PathArg::followed(path), flags(letters));
        if flags != libc::O_RDONLY {
            return writes::write(arg, names(flags), |_, path| {
                let file = real(path);
                if !file.is_null() {
                    writes::mark_opened(lazy_libc::fileno(file), flags & libc::O_CREAT != 0);
                }
                file
            });
        }
        read(arg, Want::Data(flags), |answer| match answer {
            Answer::Pass(_, path) => real(path),
            Answer::Absent(e) => {
                sys::set_errno(e);
                ptr::null_mut()
            }
            Answer::Redirect(e) => {
                let before = sys::errno();
                let file = real(e.pristine().as_ptr().cast());
                if !file.is_null() {
                    mark_redirected(lazy_libc::fileno(file), e.pristine().as_ptr().cast());
                    return file;
                }
                if !retry(sys::errno()) {
                    return file;
                }
                sys::set_errno(before);
                real(e.path().as_ptr().cast())
            }
        })
    }
}

/// Reopens a stream. `real` gets the path. A failing freopen closes its stream, so this function checks before the call
/// that the staged file can be opened.
///
/// # Safety
/// As freopen.
unsafe fn reopen(
    path: *const c_char,
    mode: *const c_char,
    file: *mut FILE,
    real: impl Fn(*const c_char) -> *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller keeps the contract of freopen.
    unsafe {
        if path.is_null() {
            return reopen_same(mode, file, real);
        }
        // If the staged file is gone, the original is opened.
        let arg = PathArg::followed(path);
        let can_open = read(arg, Want::Data(libc::O_RDONLY), |answer| match answer {
            Answer::Redirect(e) => {
                sys::faccessat(AT_FDCWD, e.pristine().as_ptr().cast(), libc::R_OK, 0).is_ok()
            }
            _ => true,
        });
        if can_open { fopen_as(path, mode, real) } else { real(path) }
    }
}

/// Reopens a stream without a path. libc then opens the stream's descriptor again by its name below `/proc`. That name
/// must not lead to the staged copy, which the program could then write.
///
/// # Safety
/// As freopen.
unsafe fn reopen_same(
    mode: *const c_char,
    file: *mut FILE,
    real: impl Fn(*const c_char) -> *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller keeps the contract of freopen.
    unsafe {
        let writes = bytes(mode).is_none_or(|letters| flags(letters) != libc::O_RDONLY);
        if stage().is_some() && !file.is_null() {
            let fd = lazy_libc::fileno(file);
            let refused = swap_fd(fd).is_err();
            if writes && refused {
                // This call fails and closes the stream, as a failing freopen does.
                real(c"".as_ptr());
                sys::set_errno(libc::EACCES);
                return ptr::null_mut();
            }
            if writes {
                writes::mark_opened(fd, false);
            }
        }
        real(ptr::null())
    }
}

hooks! {
    fn fopen, fopen64, setmntent, __setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE
        = |real| fopen_as(path, mode, |p| real(p, mode));
    fn freopen, freopen64(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE
        = |real| reopen(path, mode, file, |p| real(p, mode, file));
}
