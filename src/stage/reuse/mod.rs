//! Uses stages that this node already has: takes bundles from them, and knows what has diverged since.
#![forbid(unsafe_code)]

pub(super) mod adopt;
pub mod divergence;
pub(super) mod donor;
pub(super) mod saved_manifest;
