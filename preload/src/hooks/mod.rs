//! The exported functions, one file for each family of libc's functions.
//!
//! A hook asks for a decision ([`pyshm_core::path`]) and obeys it. It allocates only where libc's function does, takes no lock,
//! does not panic, and leaves errno alone on success. A room imports from the rooms above it in this list only:
//!
//! ```text
//! loader       dlopen and its kin
//! attributes   what a path or descriptor is: stat, access, readlink, extended attributes, statfs
//! files        opening, changing and locking files; the working directory
//! directories  reading and walking directories
//! programs     exec, spawn, the shell
//! syscall      system calls by number
//! ```

pub mod attributes;
pub mod directories;
pub mod files;
pub mod loader;
pub mod programs;
pub mod syscall;
