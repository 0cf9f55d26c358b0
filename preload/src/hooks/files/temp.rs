//! Files and directories whose names libc makes up.
//!
//! libc fills the template in, so the name is known only after the call. It cannot be in the index, and no other
//! process knows it, so marking it then is early enough.

use core::ffi::{c_char, c_int};

use pyshm_core::path::argument::PathArg;
use pyshm_core::path::writes::{Names, mark_opened, write};

/// Marks the path that a call has made, and its directory's listing.
///
/// # Safety
/// `path` must be a C string.
unsafe fn mark_made(path: *const c_char) {
    // SAFETY: the caller guarantees a C string.
    unsafe { write(PathArg::unfollowed(path), Names::Added, |_, _| ()) }
}

/// Marks the file that a call has made and opened as `fd`, if it is no failure.
fn file(fd: c_int) -> c_int {
    mark_opened(fd, true);
    fd
}

/// Marks the path `dir` if it is no failure.
///
/// # Safety
/// `dir` must be null or a C string.
unsafe fn directory(dir: *mut c_char) -> *mut c_char {
    if !dir.is_null() {
        // SAFETY: it is not null.
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
