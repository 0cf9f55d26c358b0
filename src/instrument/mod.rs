//! Observes staging: a timeline for users, and pauses for tests.
#![forbid(unsafe_code)]

pub mod test_pause;
pub mod timeline;
