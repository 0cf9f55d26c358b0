//! Declares hooks, and finds the real function behind each hook.
//!
//! - [`hooks!`] declares hooks of functions that the objects behind this library define, that is, the objects that the
//!   loader searches after this library. One declaration covers all names of a function (64-bit, fortified, old) that
//!   take the same arguments. The body is one expression, which gets the real function as a closure. A longer body is
//!   an ordinary function that the expression calls.
//! - [`exports!`] declares functions that do not call a real function of the same name. libc hides some functions
//!   (`__xstat` since 2.33), and an older libc lacks others.
//!
//! For each name, both macros make the exported function, and a type of the same name for the rest of the shim, with
//! `NAME::hook(…)` and, for hooks, `NAME::real()`.
//!
//! A real function is looked up at its first use, without a lock ([`pyshm_core::base::link_map`]). A call of a missing
//! function fails with ENOSYS.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use pyshm_core::base::link_map;

/// The address of a function of the objects behind this library, looked up once.
///
/// The struct does not hold the function's name, so every such struct starts as zeros and costs a process nothing
/// before it is used.
pub struct Real(AtomicPtr<c_void>);

impl Real {
    /// A function that has not been looked up yet.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The address of the function `name`, or `missing` if no object defines it. `name` must be the same in every call.
    #[inline]
    pub fn get(&self, name: &'static str, missing: *mut c_void) -> *mut c_void {
        let known = self.0.load(Ordering::Relaxed);
        if known.is_null() { self.find(name, missing) } else { known }
    }

    #[cold]
    #[inline(never)]
    fn find(&self, name: &'static str, missing: *mut c_void) -> *mut c_void {
        let found = link_map::next_function(name).unwrap_or(missing);
        self.0.store(found, Ordering::Relaxed);
        found
    }
}

/// The value that a function returns when it fails and sets errno.
pub trait Failed {
    /// The value.
    fn failed() -> Self;
}

impl Failed for () {
    fn failed() -> Self {}
}

impl Failed for c_int {
    fn failed() -> Self {
        -1
    }
}

impl Failed for isize {
    fn failed() -> Self {
        -1
    }
}

impl Failed for i64 {
    fn failed() -> Self {
        -1
    }
}

impl<T> Failed for *mut T {
    fn failed() -> Self {
        ptr::null_mut()
    }
}

/// Declares the function `$find`, which returns the function `$name` of the objects behind this library.
macro_rules! real_function {
    ($find:ident, $name:ident, ($($arg:ident: $ty:ty),*) -> $ret:ty) => {
        /// The real function of this name.
        #[inline]
        pub fn $find() -> unsafe extern "C" fn($($ty),*) -> $ret {
            static REAL: $crate::libc_calls::hook_macros::Real = $crate::libc_calls::hook_macros::Real::new();
            unsafe extern "C" fn missing($(_: $ty),*) -> $ret {
                pyshm_core::base::sys::set_errno(libc::ENOSYS);
                <$ret as $crate::libc_calls::hook_macros::Failed>::failed()
            }
            let address = REAL.get(stringify!($name), missing as *mut core::ffi::c_void);
            // SAFETY: the function of this name has this signature in every libc.
            unsafe { core::mem::transmute(address) }
        }
    };
}

/// Declares hooks: `fn NAME, NAME(ARGUMENTS) -> RESULT = |real| BODY;`.
macro_rules! hooks {
    ($( fn $($name:ident),+ ($($args:tt)*) -> $ret:ty = |$real:ident| $body:expr; )*) => {
        $( hook_names! { [$($name)+] ($($args)*) -> $ret, $real, $body } )*
    };
}

/// Declares all names of a hook.
macro_rules! hook_names {
    ([$($name:ident)+] $args:tt -> $ret:ty, $real:ident, $body:expr) => {
        $( hook_one! { $name $args -> $ret, $real, $body } )+
    };
}

/// Declares one name of a hook.
macro_rules! hook_one {
    ($name:ident ($($arg:ident: $ty:ty),*) -> $ret:ty, $real:ident, $body:expr) => {
        /// The hook of this function, and the real one.
        #[allow(non_camel_case_types)]
        pub enum $name {}

        #[allow(dead_code, reason = "the rest of the shim calls some hooks and real functions only")]
        impl $name {
            real_function!(real, $name, ($($arg: $ty),*) -> $ret);

            /// What the exported function does.
            ///
            /// # Safety
            /// As the real function.
            #[inline]
            #[allow(unused_unsafe, unused_variables, reason = "a body may be safe, and needs not use the real function")]
            pub unsafe fn hook($($arg: $ty),*) -> $ret {
                let $real = |$($arg: $ty),*| -> $ret {
                    // SAFETY: as below.
                    unsafe { Self::real()($($arg),*) }
                };
                // SAFETY: the caller keeps the contract of the real function. The body passes the caller's arguments to
                // that function. The body may replace a path, a flag or an environment by another one that the contract
                // allows and that lives to the end of the call.
                unsafe { $body }
            }
        }

        /// Stands in front of the function of this name.
        ///
        /// # Safety
        /// As the real function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
            // SAFETY: the caller keeps the contract of the real function.
            unsafe { $name::hook($($arg),*) }
        }
    };
}

/// Declares functions without a real counterpart: `fn NAME(ARGUMENTS) -> RESULT = BODY;`.
macro_rules! exports {
    ($( fn $name:ident ($($arg:ident: $ty:ty),*) -> $ret:ty = $body:expr; )*) => { $(
        /// The hook of this function.
        #[allow(non_camel_case_types)]
        pub enum $name {}

        #[allow(dead_code, reason = "the rest of the shim calls some hooks only")]
        impl $name {
            /// What the exported function does.
            ///
            /// # Safety
            /// As libc's function.
            #[inline]
            pub unsafe fn hook($($arg: $ty),*) -> $ret {
                // SAFETY: the caller keeps the contract of libc's function, and the body passes on the caller's
                // arguments.
                unsafe { $body }
            }
        }

        /// Stands in front of libc's function of this name.
        ///
        /// # Safety
        /// As libc's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
            // SAFETY: the caller keeps the contract of libc's function.
            unsafe { $name::hook($($arg),*) }
        }
    )* };
}
