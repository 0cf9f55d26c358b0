//! Answers questions about the attributes of a path or descriptor from the index.

pub mod access;
pub mod fsinfo;
pub mod links;
pub mod pathconf;
pub mod stat;
pub mod stat_behind;
pub mod xattr;
