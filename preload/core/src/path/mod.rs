//! room

pub mod fast_path;
pub mod fd_link;
pub mod resolve;
pub mod writes;
