//! Hooks ftw and nftw. libc's walk reaches no hook, so this module itself makes every walk that may meet a prefix, and
//! calls the hooked functions. libc does every other walk.

use core::ffi::{c_char, c_int};

use pyshm_core::path::resolve::meets_prefix;

mod levels;
mod seen;
mod walk;

use walk::{Call, Full, KNOWN, Plain, walk};

/// # Safety
/// As ftw.
unsafe fn plain(
    path: *const c_char,
    call: Option<Plain>,
    open: c_int,
    real: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of ftw.
    unsafe {
        match call {
            Some(call) if meets_prefix(path) => walk(path, Call::Plain(call), open, 0),
            _ => real(),
        }
    }
}

/// # Safety
/// As nftw.
unsafe fn full(
    path: *const c_char,
    call: Option<Full>,
    open: c_int,
    flags: c_int,
    real: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of nftw.
    unsafe {
        match call {
            Some(call) if flags & !KNOWN == 0 && meets_prefix(path) => {
                walk(path, Call::Full(call), open, flags)
            }
            _ => real(),
        }
    }
}

// On 64-bit systems `struct stat` and `struct stat64` are the same.
hooks! {
    fn ftw, ftw64(path: *const c_char, call: Option<Plain>, open: c_int) -> c_int
        = |real| plain(path, call, open, || real(path, call, open));
    fn nftw, nftw64(path: *const c_char, call: Option<Full>, open: c_int, flags: c_int) -> c_int
        = |real| full(path, call, open, flags, || real(path, call, open, flags));
}
