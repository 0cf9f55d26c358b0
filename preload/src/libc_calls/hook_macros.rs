//! How hooks are declared and how they reach the function they stand in front of.
//!
//! The shape is redhook's: [`hooks!`] declares a function once for the exported symbol and the real one, and
//! `real!(name)` is the real one. redhook itself needs std, whose relocations and look-ups cost every process of every
//! user 60 µs and more (`bench/`), looks symbols up inside a `Once`, and panics when one is missing; here a symbol is
//! looked up at its first use, without a lock ([`crate::loaded`]), and a missing one fails with ENOSYS.
//!
//! What libc keeps hidden (`__xstat` since 2.33), what is variadic and what needs a stub is exported by [`exports!`]
//! and reaches the kernel by itself.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use pyshm_core::base::link_map;

/// A function of the objects behind us, looked up once.
///
/// It does not hold its name: all of these are zero at first, and cost a process nothing before they are used.
pub struct Real(AtomicPtr<c_void>);

impl Real {
    /// Not looked up yet.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The address of the function `name`, which must be the same each time; `missing` if there is none.
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

/// What a function returns that could not do anything.
pub trait Failed {
    /// The value, beside errno.
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

/// Declares the function `$find`, which gives the function `$name` of the objects behind ours.
macro_rules! real_function {
    ($find:ident, $name:ident, ($($arg:ident: $ty:ty),*) -> $ret:ty) => {
        /// The function behind ours. An alias may use another hook's.
        #[allow(dead_code)]
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

/// Declares hooks of functions that other objects define too.
macro_rules! hooks {
    ($( unsafe fn $name:ident ( $($arg:ident : $ty:ty),* ) -> $ret:ty => $hook:ident $body:block )*) => { $(
        /// The real function.
        #[allow(non_camel_case_types)]
        pub enum $name {}

        impl $name {
            real_function!(real, $name, ($($arg: $ty),*) -> $ret);
        }

        /// Stands in front of the function of this name.
        ///
        /// # Safety
        /// As the real one.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
            // SAFETY: the caller's own arguments.
            unsafe { $hook($($arg),*) }
        }

        #[inline]
        pub(crate) unsafe fn $hook($($arg: $ty),*) -> $ret $body
    )* };
}

/// The real function of a hook.
macro_rules! real {
    ($name:ident) => {
        $name::real()
    };
}

/// Exports functions under their own names, without a real counterpart by the same name.
macro_rules! exports {
    ($( unsafe fn $name:ident ( $($arg:ident : $ty:ty),* ) $(-> $ret:ty)? $body:block )*) => {
        $(
            /// Stands in front of libc's function of this name.
            ///
            /// # Safety
            /// As libc's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name ( $($arg : $ty),* ) $(-> $ret)? $body
        )*
    };
}
