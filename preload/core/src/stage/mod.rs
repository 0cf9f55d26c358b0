//! Finds and maps the stage of this process, and manages the descriptors of its files.

pub mod changed_library;
pub mod close;
pub mod containers;
pub mod current;
pub mod descriptor;
pub mod find;
pub mod identity;
pub mod inert;
pub mod log;
pub mod mapped;
pub mod may_write;
pub mod own_fds;
pub mod own_locks;
pub mod permission;
pub mod sharing;
pub mod swap_fd;
