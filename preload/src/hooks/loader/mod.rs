//! Hooks the functions of the dynamic loader.

pub mod dl;
pub mod glob_version;
