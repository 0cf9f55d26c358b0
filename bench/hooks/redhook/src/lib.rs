//! Declares hooks with redhook for the calls that a starting program makes; each hook calls the real function.

use libc::{c_char, c_int, c_void, mode_t, size_t, ssize_t};

macro_rules! pass {
    ($( $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty => $hook:ident; )*) => { $(
        redhook::hook! {
            unsafe fn $name($($arg: $ty),*) -> $ret => $hook { redhook::real!($name)($($arg),*) }
        }
    )* };
}

pass! {
    open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => my_open;
    open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => my_open64;
    openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int => my_openat;
    stat(path: *const c_char, to: *mut c_void) -> c_int => my_stat;
    lstat(path: *const c_char, to: *mut c_void) -> c_int => my_lstat;
    fstat(fd: c_int, to: *mut c_void) -> c_int => my_fstat;
    access(path: *const c_char, mode: c_int) -> c_int => my_access;
    readlink(path: *const c_char, to: *mut c_char, size: size_t) -> ssize_t => my_readlink;
    opendir(path: *const c_char) -> *mut c_void => my_opendir;
    readdir(dir: *mut c_void) -> *mut c_void => my_readdir;
    execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int => my_execve;
    fopen(path: *const c_char, mode: *const c_char) -> *mut c_void => my_fopen;
}
