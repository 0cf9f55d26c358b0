//! room

pub mod dirent;
pub mod fts;
pub mod ftw;
pub mod glob;
pub mod wordexp;
