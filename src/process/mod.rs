//! Manages this process itself: its temporary files, signals, parent, processors and memory.
// Every module of this room is `forbid(unsafe_code)`, except `memory_policy`.
#![deny(unsafe_code)]

pub mod affinity;
#[allow(unsafe_code, reason = "set_mempolicy and mallopt have no safe wrapper")]
pub mod memory_policy;
pub mod orphan;
pub mod shm_segments;
pub mod signals;
pub mod temp_files;
