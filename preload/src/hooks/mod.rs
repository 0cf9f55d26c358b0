//! The exported functions, one file per family of libc's.
//!
//! A hook asks for a decision ([`crate::paths::ask`]) and obeys it. It does not allocate but where the function it
//! stands in front of does, takes no lock, does not panic, and leaves errno alone on success.

pub mod access;
pub mod cwd;
pub mod descriptor;
pub mod dirent;
pub mod dl;
pub mod exec;
pub mod fsinfo;
pub mod fts;
pub mod ftw;
pub mod glob;
pub mod links;
pub mod messages;
pub mod mutate;
pub mod open;
pub mod pathconf;
pub mod raw;
pub mod shell;
pub mod socket;
pub mod spawn;
pub mod stat;
mod stat_behind;
pub mod stdio;
pub mod temp;
pub mod watch;
pub mod wordexp;
pub mod xattr;
