//! Declares functions of libc that the shim calls in few programs. Each function is looked up at its first call.
//!
//! The loader looks up every symbol that the shim imports at the start of every process, which takes some 0.3 µs each.
//! Only malloc and free are imported nevertheless. The shim must use the same malloc and free as the *program*, which
//! may be those of another preloaded library.

use core::ffi::{c_char, c_int, c_short, c_void};

use libc::{
    DIR, FILE, posix_spawn_file_actions_t as Actions, posix_spawnattr_t as Attributes,
    sigaction as Action, sigset_t as Signals,
};

type Order = Option<unsafe extern "C" fn(*const c_void, *const c_void) -> c_int>;

/// Declares functions that are looked up at their first call.
macro_rules! lazy_libc {
    ($( fn $name:ident ( $($arg:ident : $ty:ty),* ) -> $ret:ty; )*) => { $(
        /// libc's function of this name.
        ///
        /// # Safety
        /// As libc's function.
        pub unsafe fn $name($($arg: $ty),*) -> $ret {
            real_function!(find, $name, ($($arg: $ty),*) -> $ret);
            // SAFETY: the caller keeps the contract of libc's function.
            unsafe { find()($($arg),*) }
        }
    )* };
}

lazy_libc! {
    fn dirfd(dir: *mut DIR) -> c_int;
    fn fclose(file: *mut FILE) -> c_int;
    fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE;
    fn fileno(file: *mut FILE) -> c_int;
    fn getcwd(to: *mut c_char, size: usize) -> *mut c_char;
    fn getenv(name: *const c_char) -> *mut c_char;
    fn gnu_get_libc_version() -> *mut c_char;
    fn posix_spawn_file_actions_addchdir_np(actions: *mut Actions, path: *const c_char) -> c_int;
    fn posix_spawn_file_actions_addclose(actions: *mut Actions, fd: c_int) -> c_int;
    fn posix_spawn_file_actions_adddup2(actions: *mut Actions, fd: c_int, to: c_int) -> c_int;
    fn posix_spawn_file_actions_destroy(actions: *mut Actions) -> c_int;
    fn posix_spawn_file_actions_init(actions: *mut Actions) -> c_int;
    fn posix_spawnattr_destroy(attr: *mut Attributes) -> c_int;
    fn posix_spawnattr_init(attr: *mut Attributes) -> c_int;
    fn posix_spawnattr_setflags(attr: *mut Attributes, flags: c_short) -> c_int;
    fn posix_spawnattr_setsigdefault(attr: *mut Attributes, signals: *const Signals) -> c_int;
    fn posix_spawnattr_setsigmask(attr: *mut Attributes, signals: *const Signals) -> c_int;
    fn qsort(first: *mut c_void, count: usize, size: usize, order: Order) -> ();
    fn sigaction(signal: c_int, new: *const Action, old: *mut Action) -> c_int;
    fn sigaddset(set: *mut Signals, signal: c_int) -> c_int;
    fn sigemptyset(set: *mut Signals) -> c_int;
    fn sigprocmask(how: c_int, set: *const Signals, old: *mut Signals) -> c_int;
}
