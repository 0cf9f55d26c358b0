//! Starting programs.

pub mod exec;
pub mod shell;
pub mod spawn;
