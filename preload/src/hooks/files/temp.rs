//! Hooks the functions that make a file or directory under a name that libc chooses.
//!
//! libc fills the template in, so the name is known only after the call. It cannot be in the index, and no other
//! process knows it, so marking it then is early enough. A template that leads through a staged descriptor leads to the
//! original when libc gets it.

use core::ffi::{c_char, c_int};

use pyshm_core::base::sys;
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::change::Names;
use pyshm_core::path::fd_link::take_original;
use pyshm_core::path::writes::{mark_opened, write};
use pyshm_core::stage::current::stage;

use crate::libc_calls::hook_macros::Failed;

/// Marks a path that a call has made, and its directory's listing.
///
/// # Safety
/// `path` must be a C string.
unsafe fn mark_made(path: *const c_char) {
    // SAFETY: the caller guarantees a C string.
    unsafe { write(PathArg::unfollowed(path), Names::Added, |_, _| ()) }
}

/// Makes a call with a template.
///
/// # Safety
/// `template` as mkstemp requires.
unsafe fn named<R: Failed>(template: *const c_char, real: impl FnOnce() -> R) -> R {
    // SAFETY: the caller guarantees a C string.
    match unsafe { bytes(template) }.filter(|_| stage().is_some()).map_or(Ok(()), take_original) {
        Ok(()) => real(),
        Err(e) => {
            sys::set_errno(e);
            R::failed()
        }
    }
}

/// Makes a file by `real`, and marks it.
///
/// # Safety
/// `template` as mkstemp requires.
unsafe fn file(template: *const c_char, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the caller guarantees the template.
    let fd = unsafe { named(template, real) };
    mark_opened(fd, true);
    fd
}

/// Makes a directory by `real`, and marks it.
///
/// # Safety
/// `template` as mkdtemp requires.
unsafe fn directory(template: *const c_char, real: impl FnOnce() -> *mut c_char) -> *mut c_char {
    // SAFETY: the caller guarantees the template.
    let dir = unsafe { named(template, real) };
    if !dir.is_null() {
        // SAFETY: `dir` is not null, and the caller guarantees a C string.
        unsafe { mark_made(dir) };
    }
    dir
}

hooks! {
    fn mkstemp, mkstemp64(template: *mut c_char) -> c_int = |real| file(template, || real(template));
    fn mkostemp, mkostemp64(template: *mut c_char, flags: c_int) -> c_int
        = |real| file(template, || real(template, flags));
    fn mkstemps, mkstemps64(template: *mut c_char, tail: c_int) -> c_int
        = |real| file(template, || real(template, tail));
    fn mkostemps, mkostemps64(template: *mut c_char, tail: c_int, flags: c_int) -> c_int
        = |real| file(template, || real(template, tail, flags));
    fn mkdtemp(template: *mut c_char) -> *mut c_char = |real| directory(template, || real(template));
}
