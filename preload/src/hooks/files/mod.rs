//! Opening, changing and locking files, and the working directory.

pub mod cwd;
pub mod descriptor;
pub mod gettext;
pub mod mutate;
pub mod notify_handles;
pub mod open;
pub mod socket;
pub mod stdio;
pub mod temp;
