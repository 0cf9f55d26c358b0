//! Reading directories, and walks through trees of them.

pub mod dirent;
pub mod fts;
pub mod ftw;
pub mod glob;
pub mod wordexp;
