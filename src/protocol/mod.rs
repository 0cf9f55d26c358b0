//! What pyshm's own processes say to each other.
#![forbid(unsafe_code)]

pub mod events;
pub mod request;
