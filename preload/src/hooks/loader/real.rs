//! The real dlopen and dlmopen.

use core::ffi::{c_char, c_int, c_long, c_void};

real_function!(real_dlopen, dlopen, (path: *const c_char, mode: c_int) -> *mut c_void);
real_function!(real_dlmopen, dlmopen, (space: c_long, path: *const c_char, mode: c_int) -> *mut c_void);

/// The namespace of the program (LM_ID_BASE).
pub(super) const BASE: c_long = 0;
/// Asks for a new namespace (LM_ID_NEWLM).
pub(super) const NEW: c_long = -1;

/// Loads `path` into a namespace.
///
/// # Safety
/// As dlmopen.
pub(super) unsafe fn load(space: c_long, path: *const c_char, mode: c_int) -> *mut c_void {
    // SAFETY: the caller guarantees the arguments. dlopen stands for dlmopen where the namespace is that of the shim.
    unsafe {
        if space == BASE { real_dlopen()(path, mode) } else { real_dlmopen()(space, path, mode) }
    }
}
