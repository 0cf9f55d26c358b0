//! Defines the protocol between pyshm's own processes.
#![forbid(unsafe_code)]

pub mod events;
pub mod request;
