//! Fuzzes two functions that the shim calls when a program starts. One restores the environment, and must neither lose
//! nor add a variable. The other parses the first line of a script.
#![no_main]

use std::ffi::{CString, c_char};

use libfuzzer_sys::fuzz_target;
use pyshm_core::base::env;
use pyshm_core::exec::{script, visible_env};

const SHIM: &[u8] = b"/dev/shm/pyshm-0/0123456789abcdef/lib/libpyshm.so";

fuzz_target!(|bytes: &[u8]| {
    if let script::Head::Script(found) = script::parse(bytes) {
        assert!(!found.path.is_empty());
    }
    let strings: Vec<CString> =
        bytes.split(|b| *b == 0).map(|s| CString::new(s).expect("it has no NUL")).collect();
    let mut array: Vec<*const c_char> = strings.iter().map(|s| s.as_ptr()).collect();
    array.push(std::ptr::null());
    let before = env::environ();
    // SAFETY: `array` is a null-terminated array of C strings, which lives until libc's own environment is back. No
    // other thread reads the environment.
    let left = unsafe {
        env::replace(array.as_ptr());
        visible_env::restore(Some(SHIM));
        let left = env::strings(array.as_ptr()).map(|s| s.to_bytes().to_vec()).collect::<Vec<_>>();
        env::replace(before.cast_const().cast());
        left
    };
    let ours = |s: &[u8]| s.starts_with(b"PYSHM_LD_") || s.starts_with(b"LD_");
    let others =
        |strings: &[Vec<u8>]| strings.iter().filter(|s| !ours(s)).cloned().collect::<Vec<_>>();
    let given: Vec<Vec<u8>> = strings.iter().map(|s| s.to_bytes().to_vec()).collect();
    assert_eq!(others(&left), others(&given));
    assert!(left.len() <= given.len() && left.len() + 3 >= given.len());
});
