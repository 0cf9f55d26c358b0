//! Compares a bundle, a stage and the tree that was bundled, path by path.
//!
//! Each side becomes a [`View`]. The digests in it are computed from the data that is read now, never taken from a
//! record. Facts that a side does not record (data that is not bundled, times of directories that a tar does not name)
//! are not compared.
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
