//! Starting a program: which file the kernel is given, with which arguments and environment.

pub mod by_name;
pub mod child_env;
pub mod elf;
pub mod script;
pub mod start;
pub mod unshimmed;
pub mod visible_env;
