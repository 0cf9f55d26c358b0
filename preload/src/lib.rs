//! `libpyshm.so`: every file operation under an original path is answered from the node's own copy.
//!
//! The library is preloaded into the user's processes. It must be unnoticeable: it never prints, panics, exits,
//! allocates or locks on its own, and whatever it is not sure of goes to the kernel unchanged.
//!
//! ```text
//! hooks/*   the exported functions, one file per family     ask, then obey
//! paths     what the caller passed → absolute, original
//! outside   most paths: nothing of ours
//! route     the decision: pure, safe code
//! mark      writes: what diverges from the stage
//! promote   a staged file's descriptor becomes the original's
//! exec      starting programs; child: their environment; containers: which get none of it
//! stage     finds and maps the stage, once
//! wrap      without a stage: launchers and ranks go to pyshm-run; handover: how
//! ```
// std costs every process of every user its relocations, and names symbols that older systems do not have.
#![no_std]
#![warn(clippy::undocumented_unsafe_blocks)]

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!("libpyshm.so is for 64-bit little-endian Linux with glibc");

#[macro_use]
mod libc_calls;

mod hooks;
mod init;

/// The shim allocates nothing. Where the workspace is built as one, `pyshm_format` brings its builder, which would.
mod never {
    use core::alloc::{GlobalAlloc, Layout};

    struct Never;

    // SAFETY: failing every request is allowed, so there is nothing to give back.
    unsafe impl GlobalAlloc for Never {
        unsafe fn alloc(&self, _: Layout) -> *mut u8 {
            core::ptr::null_mut()
        }

        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
    }

    #[global_allocator]
    static NEVER: Never = Never;
}

/// What would be a mistake of ours, since a hook must never panic: the process ends as by abort(3).
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    pyshm_core::base::sys::abort()
}
