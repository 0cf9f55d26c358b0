//! Asks libc for its version.

use std::ffi::CStr;

/// The version of glibc that runs this program, as `2.36`.
pub(super) fn libc_version() -> String {
    // SAFETY: the function takes no argument, and returns a NUL-terminated string that lives as long as the process.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}
