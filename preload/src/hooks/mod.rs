//! Exports the hooks, in one file for each family of libc's functions.
//!
//! A hook asks for a decision ([`pyshm_core::path`]) and obeys the decision. A hook allocates only where libc's
//! function does, takes no lock, does not panic, and keeps errno on success.
//!
//! Rooms, from the highest to the lowest. A file may use rooms below its own, never one above.
//!
//! ```text
//! syscall       system calls by number
//! programs/     exec, spawn, the shell
//! directories/  reading and walking directories
//! files/        opening, changing and locking files; the working directory
//! attributes/   reading attributes: stat, access, readlink, extended attributes, statfs
//! loader/       dlopen and related functions
//! ```

pub mod attributes;
pub mod directories;
pub mod files;
pub mod loader;
pub mod programs;
pub mod syscall;
