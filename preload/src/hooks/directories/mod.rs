//! Hooks the functions that read directories and walk trees.

pub mod dirent;
pub mod fts;
pub mod ftw;
pub mod glob;
pub mod wordexp;
