//! The environment: reading it, what a child gets, and what our own program sees.
//!
//! A child's environment, as the kernel gets it, differs from the one the caller gave in two ways: `LD_PRELOAD`
//! begins with the staged shim, and elements of `LD_LIBRARY_PATH` under a prefix name the stage. The visible values
//! travel beside them in `PYSHM_LD_PRELOAD` and `PYSHM_LD_LIBRARY_PATH`; the child's constructor puts them back
//! ([`restore`]), in place: an environment string's tail *is* the visible string, so nothing is allocated.

use core::ffi::{CStr, c_char};

/// A null-terminated array of C strings.
pub type Strings = *const *const c_char;

unsafe extern "C" {
    /// libc's environment.
    #[link_name = "environ"]
    static mut ENVIRON: *mut *mut c_char;
}

/// The process's environment array.
pub fn environ() -> *mut *mut c_char {
    // SAFETY: reading a pointer that libc keeps; whoever changes the environment races with every reader in libc too.
    unsafe { ENVIRON }
}

/// Exchanges the process's environment array.
///
/// # Safety
/// `array` must be a null-terminated array of C strings that stays valid, and no other thread may run.
#[allow(dead_code)] // for the trampoline
pub unsafe fn replace(array: *const *const c_char) {
    // SAFETY: by the caller's word.
    unsafe { ENVIRON = array.cast_mut().cast() };
}

/// The strings of an environment or argument array.
///
/// # Safety
/// `array` must be null or a null-terminated array of C strings that outlives `'a`.
pub unsafe fn strings<'a>(array: *const *const c_char) -> impl Iterator<Item = &'a CStr> {
    let mut next = array;
    core::iter::from_fn(move || {
        // SAFETY: up to its terminating null the array may be read, by the caller's word.
        unsafe {
            if next.is_null() || (*next).is_null() {
                return None;
            }
            let s = CStr::from_ptr(*next);
            next = next.add(1);
            Some(s)
        }
    })
}

/// The value of a variable in `text` if it sets `name`.
pub fn value<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    text.strip_prefix(name)?.strip_prefix(b"=")
}

/// A variable of our own environment.
pub fn get(name: &[u8]) -> Option<&'static [u8]> {
    // SAFETY: libc keeps environ a null-terminated array of C strings; the strings stay where they are unless
    // the program itself frees them.
    unsafe { strings(environ().cast_const().cast()) }.find_map(|s| value(s.to_bytes(), name))
}

/// # Safety
/// `array` must be a null-terminated array of C strings.
pub unsafe fn position(array: *mut *mut c_char, name: &[u8]) -> Option<usize> {
    // SAFETY: by the caller's word.
    unsafe { strings(array.cast_const().cast()) }.position(|s| value(s.to_bytes(), name).is_some())
}

/// # Safety
/// `array` must be null-terminated and `at` before its end.
pub unsafe fn remove(array: *mut *mut c_char, at: usize) {
    let mut i = at;
    // SAFETY: moves every later pointer, the terminating null included, one place down.
    unsafe {
        while !(*array.add(i)).is_null() {
            *array.add(i) = *array.add(i + 1);
            i += 1;
        }
    }
}

/// The length of an environment or argument array.
///
/// # Safety
/// `array` must be null or a null-terminated array.
pub unsafe fn count(array: Strings) -> usize {
    // SAFETY: by the caller's word.
    unsafe { strings(array) }.count()
}
