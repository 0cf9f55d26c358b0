//! Compares a bundle, a stage and the tree they were made from, path by path: what would a job see differently in one of
//! them?
//!
//! Each side becomes a [`View`], with the digest of every file's data as it reads now, never as a record says. What a
//! side does not record (data that is not bundled, times of directories that a tar does not name) is not compared.
#![forbid(unsafe_code)]

mod bundle;
mod compare;
mod digests;
mod source;
mod stage;
mod view;

pub use bundle::of_bundles;
pub use compare::{Difference, compare, own_problems};
pub use source::of_source;
pub use stage::of_stage;
pub use view::View;
