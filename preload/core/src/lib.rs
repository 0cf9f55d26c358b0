//! The library that `libpyshm.so` and the trampoline `pyshm-exec` share: everything below the hooks.
//!
//! Invariants:
//! - Nothing here allocates, locks or panics. Only [`stage::log`] prints: the line that `PYSHM_LOG` asks for.
//! - errno changes only where a hook asks for that.
//! - No code here calls a libc function that has a hook. It makes the system call instead ([`base::sys`]).
//!
//! Rooms, from the highest to the lowest. A file may use rooms below its own, never one above (`docs/design.md`).
//!
//! ```text
//! launch/   recognises a launcher or a rank without a stage, and executes pyshm-run in its place
//! exec/     starting a program: its file, its `#!` line, its environment
//! path/     turns a caller's path into a decision: reads, writes, originals
//! stage/    finds and maps the stage; descriptors of staged files; containers; the log
//! decide/   the decision about a path, from the index alone: pure, safe code
//! base/     system calls, bytes, memory on the stack, the environment, the loader's list of objects
//! ```
// std would add relocations, which cost every process of every user time, and symbols that older systems do not have.
#![cfg_attr(not(test), no_std)]

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!("pyshm is for 64-bit little-endian Linux with glibc");

pub mod base;
pub mod decide;
pub mod exec;
pub mod launch;
pub mod path;
pub mod stage;
