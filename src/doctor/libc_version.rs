//! Which libc runs this program.

use std::ffi::CStr;

/// The version of glibc, as `2.36` (gnu_get_libc_version(3)).
pub(super) fn libc_version() -> String {
    // SAFETY: takes nothing, and returns a string that lives as long as the process.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}
