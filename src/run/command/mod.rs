//! Runs the user's command as a child process of `pyshm-run`.
#![forbid(unsafe_code)]

pub mod child;
pub mod signal_probe;
pub mod trampoline;
