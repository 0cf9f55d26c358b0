//! Reads and changes arrays of C strings, such as the process's environment and a program's arguments.

use core::ffi::{CStr, c_char};

/// A null-terminated array of C strings.
pub type Strings = *const *const c_char;

unsafe extern "C" {
    /// The environment array of libc.
    #[link_name = "environ"]
    static mut ENVIRON: *mut *mut c_char;
}

/// The process's environment array.
pub fn environ() -> *mut *mut c_char {
    // SAFETY: this reads a pointer that libc owns. A program whose threads change the environment meanwhile has the
    // same race with libc's own readers.
    unsafe { ENVIRON }
}

/// Replaces the process's environment array.
///
/// # Safety
/// `array` must be a null-terminated array of C strings that stays valid, and no other thread may run.
pub unsafe fn replace(array: Strings) {
    // SAFETY: the caller guarantees that no other thread reads or writes the pointer.
    unsafe { ENVIRON = array.cast_mut().cast() };
}

/// Iterates over the strings of an array.
///
/// # Safety
/// `array` must be null or a null-terminated array of C strings that outlives `'a`.
pub unsafe fn strings<'a>(array: Strings) -> impl Iterator<Item = &'a CStr> {
    let mut next = array;
    core::iter::from_fn(move || {
        // SAFETY: the caller guarantees that the array can be read up to its terminating null. Nothing behind that is
        // read.
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

/// Number of strings in an array.
///
/// # Safety
/// `array` must be null or a null-terminated array of C strings.
pub unsafe fn count(array: Strings) -> usize {
    // SAFETY: the caller guarantees what `strings` asks for.
    unsafe { strings(array) }.count()
}

/// The value of the variable `name` if `text`, a string of an environment, sets it.
pub fn value<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    text.strip_prefix(name)?.strip_prefix(b"=")
}

/// The value of an environment variable of this process.
pub fn get(name: &[u8]) -> Option<&'static [u8]> {
    // SAFETY: libc keeps environ a null-terminated array of C strings, which live until the program itself frees them.
    unsafe { strings(environ().cast_const().cast()) }.find_map(|s| value(s.to_bytes(), name))
}

/// The index of the variable `name` in an environment.
///
/// # Safety
/// `array` must be a null-terminated array of C strings.
pub unsafe fn position(array: *mut *mut c_char, name: &[u8]) -> Option<usize> {
    // SAFETY: the caller guarantees what `strings` asks for.
    unsafe { strings(array.cast_const().cast()) }.position(|s| value(s.to_bytes(), name).is_some())
}

/// Removes the string at index `at` from an environment, in place.
///
/// # Safety
/// `array` must be null-terminated and writable, and `at` must lie before its end.
pub unsafe fn remove(array: *mut *mut c_char, at: usize) {
    let mut i = at;
    // SAFETY: the caller guarantees a writable array. Every later pointer up to the terminating null moves down by one.
    unsafe {
        while !(*array.add(i)).is_null() {
            *array.add(i) = *array.add(i + 1);
            i += 1;
        }
    }
}
