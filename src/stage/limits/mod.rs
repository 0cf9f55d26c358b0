//! Limits on a stage: the room in its file system, and the memory that the job may use.
#![forbid(unsafe_code)]

mod cgroup;
pub mod space;
