//! `libpyshm.so` answers every file operation under an original path from the node's own copy.
//!
//! The library is preloaded into the user's processes, which must not notice it. The library never panics or exits, and
//! prints nothing except the line that `PYSHM_LOG` asks for. A hook allocates and locks only where libc's function
//! does. If a hook is not sure of an operation, the operation goes to the kernel unchanged.
//!
//! Most of the code is in the crate [`pyshm_core`], which the trampoline links too. This crate exports the symbols.
//! Rooms, from the highest to the lowest:
//!
//! ```text
//! init         the constructor: finds the stage, or hands a launcher or a rank over to pyshm-run
//! hooks/       the exported functions, one file for each family of libc's functions
//! libc_calls/  how a hook is declared, how it reaches the real function, and libc's memory
//! ```
// std would add relocations, which cost every process of every user time, and symbols that older systems do not have.
#![no_std]

#[macro_use]
mod libc_calls;

mod hooks;
mod init;

/// An allocator that always fails. The shim allocates nothing, but the allocator must exist because `pyshm_format`
/// contains its allocating index builder if one command builds the whole workspace.
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

/// Ends the process as abort(3) does. A panic would be a bug of the shim.
// `--all-targets` also checks the library as a test, for which std has a panic handler.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    pyshm_core::base::sys::abort()
}
