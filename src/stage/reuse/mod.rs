//! Stages that this node already has, and what a later job can take from them.
#![forbid(unsafe_code)]

pub mod adopt;
pub mod divergence;
pub mod donor;
pub mod saved_manifest;
