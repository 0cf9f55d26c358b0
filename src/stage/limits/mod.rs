//! Checks the limits on a stage: the space in its file system, and the memory that the job may use.
#![forbid(unsafe_code)]

mod cgroup;
pub mod space;
