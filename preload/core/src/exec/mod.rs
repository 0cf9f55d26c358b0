//! Starts programs: chooses the file, the arguments and the environment that the kernel gets.

pub mod by_name;
pub mod child_env;
pub mod script;
pub mod start;
pub mod visible_env;
