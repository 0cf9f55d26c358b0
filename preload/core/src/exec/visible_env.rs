//! Restores the environment that a program would see without the shim.
//!
//! The environment that the kernel gets for a child differs from the caller's in two variables: `LD_PRELOAD` begins
//! with the staged shim, and elements of `LD_LIBRARY_PATH` under a prefix name the stage ([`crate::exec::child_env`]).
//! `PYSHM_LD_PRELOAD` and `PYSHM_LD_LIBRARY_PATH` carry the caller's values. The child's constructor puts these back in
//! place. Nothing is allocated, because the visible string is the tail of the saved string.

use core::ffi::CStr;
use core::slice;

use pyshm_format::layout::{ENV_SAVED_LIBRARY_PATH, ENV_SAVED_PRELOAD};

use crate::base::env::{environ, position, remove, value};
use crate::base::text::retain;

/// The loader's list of libraries to load before all others (ld.so(8)).
pub const PRELOAD: &[u8] = b"LD_PRELOAD";

/// The elements of `LD_PRELOAD`.
pub fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    list.split(separates).filter(|e| !e.is_empty())
}

fn separates(b: &u8) -> bool {
    matches!(b, b':' | b' ')
}

/// Whether an element names the shim, in any directory.
pub fn is_shim(element: &[u8]) -> bool {
    element.rsplit(|&b| b == b'/').next() == Some(b"libpyshm.so")
}

/// Whether a shim's path has the form of a staged shim's, `…/pyshm-<uid>/<stage>/lib/libpyshm.so`. The stage need not
/// be usable, because only pyshm itself puts such a path into the environment.
pub fn in_stage(shim: &[u8]) -> bool {
    let mut names = shim.rsplit(|&b| b == b'/').skip(3);
    names
        .next()
        .and_then(|n| n.strip_prefix(b"pyshm-"))
        .is_some_and(|uid| uid.iter().all(u8::is_ascii_digit))
}

/// Restores the visible environment. The shim's constructor calls this, and so does the trampoline, which may be static
/// and then has no shim. `own` is the file of the calling library.
///
/// # Safety
/// No other thread may run yet.
pub unsafe fn restore(own: Option<&[u8]>) {
    let array = environ();
    if array.is_null() {
        return;
    }
    // SAFETY: the caller guarantees a single thread. The array is null-terminated and lies on the initial stack, so its
    // pointers may be replaced. Every index below lies before the terminating null.
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
        // If no value was saved and a stage's shim is the whole value, pyshm added the variable. If the shim lies
        // elsewhere, the user named it.
        if let Some(at) = position(array, PRELOAD)
            && let Some(list) = value(CStr::from_ptr(*array.add(at)).to_bytes(), PRELOAD)
            && own.is_none_or(|own| own == list)
            && !list.iter().any(separates)
            && is_shim(list)
            && in_stage(list)
        {
            remove(array, at);
        }
    }
}

/// Removes the shim from `LD_PRELOAD`, in place. Removes the variable if the list is then empty.
///
/// # Safety
/// No other thread may run yet.
pub unsafe fn remove_shim() {
    let array = environ();
    if array.is_null() {
        return;
    }
    // SAFETY: the caller guarantees a single thread. The array is null-terminated, and its strings lie on the initial
    // stack, so they may be written.
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
