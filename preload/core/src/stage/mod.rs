//! Finds and maps the stage of this process, and manages the descriptors of its files.

pub mod containers;
pub mod current;
pub mod descriptor;
pub mod find;
pub mod inert;
pub mod log;
pub mod mapped;
pub mod permission;
pub mod swap_fd;
