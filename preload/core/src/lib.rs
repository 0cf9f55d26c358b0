//! What `libpyshm.so` and the trampoline `pyshm-exec` share: everything below the hooks.
//!
//! Invariants:
//! - Nothing here allocates, locks, panics or prints, and errno stays as it was. One exception: [`stage::log`] writes the line
//!   that `PYSHM_LOG` asks for.
//! - No function of libc is called that the hooks stand in front of; the kernel is asked itself ([`base::sys`]).
//! - A room imports from the rooms above it in this list only:
//!
//! ```text
//! base      system calls, bytes, memory on the stack, the environment, the loader's list of objects
//! decide    the decision about a path, from the index alone: pure, safe code
//! stage     finds and maps the stage; descriptors of staged files
//! path      what a caller passes → a decision: reads, writes, originals
//! exec      starting a program: its file, `#!` line, environment
//! launch    a process without a stage that is a launcher or a rank: pyshm-run takes its place
//! ```
// std costs every process of every user its relocations, and names symbols that older systems do not have.
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
