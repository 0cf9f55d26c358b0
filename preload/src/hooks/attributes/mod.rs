//! What a path or a descriptor is, answered from the index.

pub mod access;
pub mod fsinfo;
pub mod links;
pub mod pathconf;
pub mod stat;
pub mod stat_behind;
pub mod xattr;
