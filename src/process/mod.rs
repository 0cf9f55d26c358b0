//! This process itself: what it removes when it is stopped, which signals it takes, and where it runs.
// All below is `forbid(unsafe_code)` except `memory_policy`.
#![deny(unsafe_code)]

pub mod affinity;
#[allow(unsafe_code, reason = "the system call and the allocator's have no safe wrapper")]
pub mod memory_policy;
pub mod orphan;
pub mod shm_segments;
pub mod signals;
pub mod temp_files;
