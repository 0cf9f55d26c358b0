//! How hooks are declared and how they reach the function they stand in front of.
//!
//! [`hooks!`] declares with redhook: the compiler checks one signature for the exported symbol and the real one.
//! redhook looks the real symbol up inside a `Once` and panics when it is missing, which a hook must never do;
//! so every family has a `resolve`, run by the constructor before threads and forks exist, and lists only symbols
//! that every glibc has. What may be missing (`__xstat` on the one hand, `stat` before 2.33 on the other), what is
//! variadic and what needs a stub is exported by [`exports!`] and reaches the kernel by itself.

/// Declares hooks of symbols that every supported libc has.
macro_rules! hooks {
    ($( unsafe fn $name:ident ( $($arg:ident : $ty:ty),* ) -> $ret:ty => $hook:ident $body:block )*) => {
        $( redhook::hook! { unsafe fn $name ( $($arg : $ty),* ) -> $ret => $hook $body } )*

        /// Looks up the real functions of this family, so that no hook has to.
        pub fn resolve() {
            $( let _ = redhook::real!($name); )*
        }
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
