//! `libpyshm.so`: every file operation under an original path is answered from the node's own copy.
//!
//! The library is preloaded into the user's processes, which must not notice it: it never prints, panics or exits,
//! allocates and locks only where libc's function does, and whatever it is not sure of goes to the kernel unchanged.
//!
//! Most of it is in the crate [`pyshm_core`], which the trampoline links too. What is here exports symbols. Rooms, from the
//! highest to the lowest:
//!
//! ```text
//! init         the constructor: finds the stage, or hands a launcher or a rank over to pyshm-run
//! hooks/       the exported functions, one file for each family of libc's functions
//! libc_calls/  how a hook is declared, how it reaches the real function, and libc's memory
//! ```
// std costs every process of every user its relocations, and names symbols that older systems do not have.
#![no_std]

#[macro_use]
mod libc_calls;

mod hooks;
mod init;

/// The shim allocates nothing. If the whole workspace is built at once, `pyshm_format` has its builder, which would.
mod never {
    use core::alloc::{GlobalAlloc, Layout};

    struct Never;

    // SAFETY: failing every request is allowed, so no block is ever freed.
    unsafe impl GlobalAlloc for Never {
        unsafe fn alloc(&self, _: Layout) -> *mut u8 {
            core::ptr::null_mut()
        }

        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
    }

    #[global_allocator]
    static NEVER: Never = Never;
}

/// A panic would be a mistake of the shim: the process ends as by abort(3).
// `--all-targets` checks the library as a test too, for which std has one.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    pyshm_core::base::sys::abort()
}
