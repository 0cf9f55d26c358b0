//! The ways in which `pyshm-run` is used, one file each.
#![forbid(unsafe_code)]

pub mod launcher_command;
pub mod plain_command;
pub mod preload_entry;
