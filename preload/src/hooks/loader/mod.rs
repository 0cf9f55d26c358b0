//! room

pub mod dl;
pub mod glob_version;
