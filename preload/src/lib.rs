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
//! exec      starting programs; child: their environment
//! stage     finds and maps the stage, once
//! wrap      without a stage: launchers and ranks go to pyshm-run; handover: how
//! ```
// std costs every process of every user its relocations, and names symbols that older systems do not have.
#![cfg_attr(not(test), no_std)]
#![warn(clippy::undocumented_unsafe_blocks)]
// A test binary must not hook itself, so it has no hooks and does not use all of the rest.
#![cfg_attr(test, allow(dead_code, unused_imports))]

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!("libpyshm.so is for 64-bit little-endian Linux with glibc");

#[cfg(not(test))]
#[macro_use]
mod real;

mod env;
mod fdlink;
mod loaded;
mod log;
mod permission;
mod route;
mod scratch;
mod script;
mod spelling;
mod stage;
mod sys;
mod text;

#[cfg(not(test))]
mod arena;
#[cfg(not(test))]
mod bound;
#[cfg(not(test))]
mod child;
#[cfg(not(test))]
mod exec;
#[cfg(not(test))]
mod handover;
#[cfg(not(test))]
mod heap;
#[cfg(not(test))]
mod hooks;
#[cfg(not(test))]
mod init;
#[cfg(not(test))]
mod later;
#[cfg(not(test))]
mod mark;
#[cfg(not(test))]
mod once;
#[cfg(not(test))]
mod outside;
#[cfg(not(test))]
mod paths;
#[cfg(not(test))]
mod promote;
#[cfg(not(test))]
mod readable;
#[cfg(test)]
mod tests;
#[cfg(not(test))]
mod wrap;

/// The shim allocates nothing. Where the workspace is built as one, `pyshm_format` brings its builder, which would.
#[cfg(not(test))]
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
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::abort()
}
