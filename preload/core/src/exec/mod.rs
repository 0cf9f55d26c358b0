//! Starts programs: chooses the file, the arguments and the environment that the kernel gets.

pub mod by_name;
pub mod child_env;
pub mod elf;
mod known_programs;
pub mod loader_program;
pub mod script;
pub mod start;
pub mod unshimmed;
pub mod visible_env;
