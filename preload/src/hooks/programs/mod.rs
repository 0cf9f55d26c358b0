//! Starting programs, and becoming somebody else.

pub mod exec;
pub mod identity;
pub mod shell;
pub mod spawn;
