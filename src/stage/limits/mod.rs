//! Limits on a stage: space in its file system, and memory that the job may use.
#![forbid(unsafe_code)]

mod cgroup;
pub mod space;
