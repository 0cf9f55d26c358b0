//! Uses stages that this node already has: takes bundles from them, and finds what has diverged in them.
#![forbid(unsafe_code)]

pub(super) mod adopt;
pub mod divergence;
pub(super) mod donor;
pub(super) mod saved_manifest;
