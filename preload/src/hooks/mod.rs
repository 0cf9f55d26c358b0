//! The exported functions, one file per family of libc's.
//!
//! A hook asks for a decision ([`crate::paths::ask`]) and obeys it. It does not allocate but where the function it
//! stands in front of does, takes no lock, does not panic, and leaves errno alone on success.

pub mod attributes;
pub mod directories;
pub mod files;
pub mod loader;
pub mod programs;
pub mod syscall;
