//! The environment: reading it, what a child gets, and what our own program sees.
//!
//! A child's environment, as the kernel gets it, differs from the one the caller gave in two ways: `LD_PRELOAD`
//! begins with the staged shim, and elements of `LD_LIBRARY_PATH` under a prefix name the stage. The visible values
//! travel beside them in `PYSHM_LD_PRELOAD` and `PYSHM_LD_LIBRARY_PATH`; the child's constructor puts them back
//! ([`restore`]), in place: an environment string's tail *is* the visible string, so nothing is allocated.

use core::ffi::{CStr, c_char};
use core::slice;

use pyshm_format::layout::{ENV_SAVED_LIBRARY_PATH, ENV_SAVED_PRELOAD};

use crate::text::retain;

pub const PRELOAD: &[u8] = b"LD_PRELOAD";

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

/// The elements of `LD_PRELOAD` (ld.so(8)).
pub fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    list.split(separates).filter(|e| !e.is_empty())
}

fn separates(b: &u8) -> bool {
    matches!(b, b':' | b' ')
}

/// Whether an element is the shim, wherever it lies.
pub fn is_shim(element: &[u8]) -> bool {
    element.rsplit(|&b| b == b'/').next() == Some(b"libpyshm.so")
}

/// A variable of our own environment.
pub fn get(name: &[u8]) -> Option<&'static [u8]> {
    // SAFETY: libc keeps environ a null-terminated array of C strings; the strings stay where they are unless
    // the program itself frees them.
    unsafe { strings(environ().cast_const().cast()) }.find_map(|s| value(s.to_bytes(), name))
}

/// Restores the visible environment: called once, by our constructor, or by the trampoline, which may be static and have
/// none. `own` is the file of the library that calls it.
///
/// # Safety
/// No other thread may run yet.
pub unsafe fn restore(own: Option<&[u8]>) {
    let array = environ();
    if array.is_null() {
        return;
    }
    // SAFETY: single-threaded by the caller's word; the array is null-terminated and its pointers may be replaced
    // (it stands on the initial stack). Every index below stays before the terminating null.
    unsafe {
        for (saved, tail) in
            [(ENV_SAVED_PRELOAD, "LD_PRELOAD"), (ENV_SAVED_LIBRARY_PATH, "LD_LIBRARY_PATH")]
        {
            let Some(from) = position(array, saved.as_bytes()) else { continue };
            if let Some(to) = position(array, tail.as_bytes()) {
                *array.add(to) = (*array.add(from)).add(saved.len() - tail.len());
            }
            remove(array, from);
        }
        // There was none: a stage's shim is the whole value. One that is installed elsewhere was named by the user.
        if let Some(at) = position(array, b"LD_PRELOAD")
            && let Some(list) = value(CStr::from_ptr(*array.add(at)).to_bytes(), b"LD_PRELOAD")
            && own.is_none_or(|own| own == list)
            && !list.iter().any(separates)
            && is_shim(list)
            && in_stage(list)
        {
            remove(array, at);
        }
    }
}

/// Takes the shim out of `LD_PRELOAD`, in place, and the variable with it if nothing else is there.
///
/// # Safety
/// No other thread may run yet.
#[allow(dead_code)] // for the library's constructor
pub unsafe fn remove_shim() {
    let array = environ();
    if array.is_null() {
        return;
    }
    // SAFETY: single-threaded by the caller's word; the array is null-terminated, and its strings, which stand on the initial
    // stack, may be written.
    unsafe {
        let Some(at) = position(array, PRELOAD) else { return };
        let list = (*array.add(at)).add(PRELOAD.len() + 1);
        let len = CStr::from_ptr(list).count_bytes();
        let list = slice::from_raw_parts_mut(list.cast::<u8>(), len + 1);
        let left = match list.split_last_mut() {
            Some((_, list)) => retain(list, separates, |e| !is_shim(e)),
            None => return,
        };
        if left == 0 {
            remove(array, at);
        } else if let Some(end) = list.get_mut(left) {
            *end = 0;
        }
    }
}

/// Whether a shim lies where stages do, `…/pyshm-<uid>/<stage>/lib/libpyshm.so`: usable or not, pyshm put it there.
pub fn in_stage(shim: &[u8]) -> bool {
    let mut names = shim.rsplit(|&b| b == b'/').skip(3);
    names
        .next()
        .and_then(|n| n.strip_prefix(b"pyshm-"))
        .is_some_and(|uid| uid.iter().all(u8::is_ascii_digit))
}

/// # Safety
/// `array` must be a null-terminated array of C strings.
unsafe fn position(array: *mut *mut c_char, name: &[u8]) -> Option<usize> {
    // SAFETY: by the caller's word.
    unsafe { strings(array.cast_const().cast()) }.position(|s| value(s.to_bytes(), name).is_some())
}

/// # Safety
/// `array` must be null-terminated and `at` before its end.
unsafe fn remove(array: *mut *mut c_char, at: usize) {
    let mut i = at;
    // SAFETY: moves every later pointer, the terminating null included, one place down.
    unsafe {
        while !(*array.add(i)).is_null() {
            *array.add(i) = *array.add(i + 1);
            i += 1;
        }
    }
}
