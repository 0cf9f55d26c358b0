//! Extended attributes, for reading: the index records none, so a bundled path is said to have none, as a staged copy
//! on tmpfs has none, and `ls -l` stays off the shared file system.
//! Attributes of the originals, access control lists among them, are therefore not seen.

use core::ffi::{c_char, c_void};

use libc::{size_t, ssize_t};

use crate::paths::{Answer, ask};
use crate::route::Want;
use crate::sys;

/// # Safety
/// `path` as the real function requires.
unsafe fn read(
    path: *const c_char,
    follow: bool,
    none: ssize_t,
    real: impl Fn(*const c_char) -> ssize_t,
) -> ssize_t {
    // SAFETY: by the caller's word.
    unsafe {
        ask(libc::AT_FDCWD, path, follow, Want::Attributes, |answer| match answer {
            Answer::Pass(_, path) => real(path),
            Answer::Absent(e) => sys::fail(e) as ssize_t,
            Answer::Redirect(_) if none < 0 => sys::fail(libc::ENODATA) as ssize_t,
            Answer::Redirect(_) => none,
        })
    }
}

hooks! {
    unsafe fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t => my_getxattr {
        // SAFETY: the caller's own arguments.
        unsafe { read(path, true, -1, |p| real!(getxattr)(p, name, value, size)) }
    }
    unsafe fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t => my_lgetxattr {
        // SAFETY: the caller's own arguments.
        unsafe { read(path, false, -1, |p| real!(lgetxattr)(p, name, value, size)) }
    }
    unsafe fn listxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t => my_listxattr {
        // SAFETY: the caller's own arguments.
        unsafe { read(path, true, 0, |p| real!(listxattr)(p, list, size)) }
    }
    unsafe fn llistxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t => my_llistxattr {
        // SAFETY: the caller's own arguments.
        unsafe { read(path, false, 0, |p| real!(llistxattr)(p, list, size)) }
    }
}
