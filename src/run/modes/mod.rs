//! The modes of `pyshm-run`, by what it is started with: a launcher's command, any other command, or a program into which
//! the shim is preloaded.
#![forbid(unsafe_code)]

pub mod launcher_command;
pub mod plain_command;
pub mod preload_entry;
