//! Hooks the functions that make a file or directory under a name that libc chooses.
//!
//! libc fills in the template, so the name is known and marked only after the call. This is early enough, because the
//! index cannot have the name and no other process knows the name.

use core::ffi::{c_char, c_int};

use pyshm_core::path::argument::PathArg;
use pyshm_core::path::change::Names;
use pyshm_core::path::writes::{mark_opened, write};

/// Marks a path that a call has made, and its directory's listing.
///
/// # Safety
/// `path` must be a C string.
unsafe fn mark_made(path: *const c_char) {
    // SAFETY: the caller guarantees a C string.
    unsafe { write(PathArg::unfollowed(path), Names::Added, |_, _| ()) }
}

/// Marks the file that a call has made and opened as `fd`, unless the call failed. Returns `fd`.
fn file(fd: c_int) -> c_int {
    mark_opened(fd, true);
    fd
}

/// Marks the path `dir` unless it is null, which means that the call failed. Returns `dir`.
///
/// # Safety
/// `dir` must be null or a C string.
unsafe fn directory(dir: *mut c_char) -> *mut c_char {
    if !dir.is_null() {
        // SAFETY: `dir` is not null, and the caller guarantees a C string.
        unsafe { mark_made(dir) };
    }
    dir
}

hooks! {
    fn mkstemp, mkstemp64(template: *mut c_char) -> c_int = |real| file(real(template));
    fn mkostemp, mkostemp64(template: *mut c_char, flags: c_int) -> c_int
        = |real| file(real(template, flags));
    fn mkstemps, mkstemps64(template: *mut c_char, tail: c_int) -> c_int
        = |real| file(real(template, tail));
    fn mkostemps, mkostemps64(template: *mut c_char, tail: c_int, flags: c_int) -> c_int
        = |real| file(real(template, tail, flags));
    fn mkdtemp(template: *mut c_char) -> *mut c_char = |real| directory(real(template));
}
