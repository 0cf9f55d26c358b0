//! Names that libc makes up: the directory's listing diverges, and the new path.
//!
//! The template is filled in by the call, so the name is known only afterwards; it cannot be in the index, and no
//! one else knows it, so marking it then is early enough.

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::AT_FDCWD;

use pyshm_core::path::writes;
use pyshm_core::path::writes::Names;

/// Marks what the call made.
///
/// # Safety
/// `template` must be a C string.
unsafe fn made(template: *const c_char) {
    // SAFETY: by the caller's word.
    unsafe { writes::one(AT_FDCWD, template, false, Names::Change, |_, _| ()) }
}

hooks! {
    unsafe fn mkstemp(template: *mut c_char) -> c_int => my_mkstemp {
        // SAFETY: the caller's own arguments; the template is a C string when the call succeeded.
        unsafe {
            let fd: c_int = real!(mkstemp)(template);
            if fd >= 0 {
                made(template);
            }
            fd
        }
    }
    unsafe fn mkstemp64(template: *mut c_char) -> c_int => my_mkstemp64 {
        // SAFETY: the caller's own arguments; the template is a C string when the call succeeded.
        unsafe {
            let fd: c_int = real!(mkstemp64)(template);
            if fd >= 0 {
                made(template);
            }
            fd
        }
    }
    unsafe fn mkostemp(template: *mut c_char, flags: c_int) -> c_int => my_mkostemp {
        // SAFETY: the caller's own arguments; the template is a C string when the call succeeded.
        unsafe {
            let fd: c_int = real!(mkostemp)(template, flags);
            if fd >= 0 {
                made(template);
            }
            fd
        }
    }
    unsafe fn mkostemp64(template: *mut c_char, flags: c_int) -> c_int => my_mkostemp64 {
        // SAFETY: the caller's own arguments; the template is a C string when the call succeeded.
        unsafe {
            let fd: c_int = real!(mkostemp64)(template, flags);
            if fd >= 0 {
                made(template);
            }
            fd
        }
    }
    unsafe fn mkstemps(template: *mut c_char, tail: c_int) -> c_int => my_mkstemps {
        // SAFETY: the caller's own arguments; the template is a C string when the call succeeded.
        unsafe {
            let fd: c_int = real!(mkstemps)(template, tail);
            if fd >= 0 {
                made(template);
            }
            fd
        }
    }
    unsafe fn mkstemps64(template: *mut c_char, tail: c_int) -> c_int => my_mkstemps64 {
        // SAFETY: the caller's own arguments; the template is a C string when the call succeeded.
        unsafe {
            let fd: c_int = real!(mkstemps64)(template, tail);
            if fd >= 0 {
                made(template);
            }
            fd
        }
    }
    unsafe fn mkostemps(template: *mut c_char, tail: c_int, flags: c_int) -> c_int => my_mkostemps {
        // SAFETY: the caller's own arguments; the template is a C string when the call succeeded.
        unsafe {
            let fd: c_int = real!(mkostemps)(template, tail, flags);
            if fd >= 0 {
                made(template);
            }
            fd
        }
    }
    unsafe fn mkostemps64(template: *mut c_char, tail: c_int, flags: c_int) -> c_int => my_mkostemps64 {
        // SAFETY: the caller's own arguments; the template is a C string when the call succeeded.
        unsafe {
            let fd: c_int = real!(mkostemps64)(template, tail, flags);
            if fd >= 0 {
                made(template);
            }
            fd
        }
    }
    unsafe fn mkdtemp(template: *mut c_char) -> *mut c_char => my_mkdtemp {
        // SAFETY: as above.
        unsafe {
            let dir: *mut c_char = real!(mkdtemp)(template);
            if !ptr::eq(dir, ptr::null()) {
                made(dir);
            }
            dir
        }
    }
}
