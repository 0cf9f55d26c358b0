//! The dynamic loader.

pub mod dl;
pub mod glob_version;
