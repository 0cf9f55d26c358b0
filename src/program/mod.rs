//! Answers questions about programs: where they are found, which interpreter and libraries they name, and which Python
//! environment they run in.
#![forbid(unsafe_code)]

pub mod elf_needed;
pub mod lookup;
pub mod python;
pub mod run_path;
