//! Hooks the functions that open, change and lock files, and those of the working directory.

pub mod cwd;
pub mod descriptor;
pub mod gettext;
pub mod mutate;
pub mod notify_handles;
pub mod open;
pub mod socket;
pub mod stdio;
pub mod temp;
