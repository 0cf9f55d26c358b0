//! Hooks the functions that start programs, and those by which a process becomes another user.

pub mod exec;
pub mod identity;
pub mod shell;
pub mod spawn;
pub mod spawn_dir;
