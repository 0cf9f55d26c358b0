//! Holds the modes of `pyshm-run`: one for a launcher's command, one for any other command, and one for a program into
//! which the shim is preloaded.
#![forbid(unsafe_code)]

pub mod launcher_command;
pub mod plain_command;
pub mod preload_entry;
