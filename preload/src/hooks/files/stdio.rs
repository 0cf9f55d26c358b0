//! fopen, freopen and setmntent: libc opens inside itself, so their paths are replaced here.

use core::ffi::{c_char, c_int};

use libc::{AT_FDCWD, FILE};

use crate::hooks::files::open::retry;
use crate::libc_calls::lazy_libc;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::path::resolve::bytes;
use pyshm_core::path::writes;
use pyshm_core::path::writes::Names;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::mark_redirected;
use pyshm_core::stage::swap_fd::promote;

/// What a mode string means for the file.
fn flags(mode: &[u8]) -> c_int {
    // Behind a comma stands the character set.
    let letters = mode.split(|&b| b == b',').next().unwrap_or(mode);
    match letters.first() {
        Some(b'r') if !letters.contains(&b'+') => libc::O_RDONLY,
        Some(b'r') => libc::O_RDWR,
        _ => libc::O_RDWR | libc::O_CREAT,
    }
}

/// # Safety
/// `path` and `mode` as fopen requires.
unsafe fn fopen_as(
    path: *const c_char,
    mode: *const c_char,
    real: impl Fn(*const c_char) -> *mut FILE,
) -> *mut FILE {
    // SAFETY: by the caller's word.
    let Some(letters) = (unsafe { bytes(mode) }) else { return real(path) };
    let flags = flags(letters);
    if flags != libc::O_RDONLY {
        let names = if flags & libc::O_CREAT != 0 { Names::IfMissing } else { Names::Same };
        // SAFETY: by the caller's word.
        return unsafe { writes::one(AT_FDCWD, path, true, names, |_, path| real(path)) };
    }
    // SAFETY: by the caller's word.
    unsafe {
        ask(AT_FDCWD, path, true, Want::Data(flags), |answer| match answer {
            Answer::Pass(_, path) => real(path),
            Answer::Absent(e) => {
                sys::set_errno(e);
                core::ptr::null_mut()
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

hooks! {
    unsafe fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE => my_fopen {
        // SAFETY: the caller's own arguments.
        unsafe { fopen_as(path, mode, |p| real!(fopen)(p, mode)) }
    }
    unsafe fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE => my_fopen64 {
        // SAFETY: the caller's own arguments.
        unsafe { fopen_as(path, mode, |p| real!(fopen64)(p, mode)) }
    }
    unsafe fn setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE => my_setmntent {
        // SAFETY: the caller's own arguments.
        unsafe { fopen_as(path, mode, |p| real!(setmntent)(p, mode)) }
    }
    unsafe fn __setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE => alt_setmntent {
        // SAFETY: the caller's own arguments.
        unsafe { fopen_as(path, mode, |p| real!(__setmntent)(p, mode)) }
    }
    unsafe fn freopen(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE => my_freopen {
        // SAFETY: the caller's own arguments. A freopen that failed has closed its stream, so there is no second try.
        unsafe { reopen(path, mode, file, |p| real!(freopen)(p, mode, file)) }
    }
    unsafe fn freopen64(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE => my_freopen64 {
        // SAFETY: as above.
        unsafe { reopen(path, mode, file, |p| real!(freopen64)(p, mode, file)) }
    }
}

/// # Safety
/// As freopen.
unsafe fn reopen(
    path: *const c_char,
    mode: *const c_char,
    file: *mut FILE,
    real: impl Fn(*const c_char) -> *mut FILE,
) -> *mut FILE {
    if path.is_null() {
        // SAFETY: by the caller's word.
        return unsafe { reopen_same(mode, file, real) };
    }
    // SAFETY: by the caller's word; the staged file is looked for first.
    unsafe {
        let staged_is_there =
            ask(AT_FDCWD, path, true, Want::Data(libc::O_RDONLY), |answer| match answer {
                Answer::Redirect(e) => {
                    sys::faccessat(AT_FDCWD, e.pristine().as_ptr().cast(), libc::R_OK, 0).is_ok()
                }
                _ => true,
            });
        if staged_is_there { fopen_as(path, mode, real) } else { real(path) }
    }
}

/// Without a path libc opens what the stream's descriptor stands for once more, by a name of the kernel's: that must not be
/// the staged copy, which could be written.
///
/// # Safety
/// As freopen.
unsafe fn reopen_same(
    mode: *const c_char,
    file: *mut FILE,
    real: impl Fn(*const c_char) -> *mut FILE,
) -> *mut FILE {
    // SAFETY: by the caller's word.
    unsafe {
        let writes = bytes(mode).is_none_or(|letters| flags(letters) != libc::O_RDONLY);
        if stage().is_some() && !file.is_null() {
            let fd = lazy_libc::fileno(file);
            let refused = promote(fd).is_err();
            if writes && refused {
                // Closes the stream, as a failure must.
                real(c"".as_ptr());
                sys::set_errno(libc::EACCES);
                return core::ptr::null_mut();
            }
            if writes {
                writes::opened(fd);
            }
        }
        real(core::ptr::null())
    }
}
