//! Hooks the functions that start programs.

pub mod exec;
pub mod shell;
pub mod spawn;
