//! The bundles of one job, stacked: what they say together, path by path, later ones over earlier ones.
//!
//! A *whole* bundle says everything about its prefix: it replaces what the bundles below say at and below that prefix,
//! whether the prefix equals, lies in, or contains one of theirs. With the mode overlay it adds, and wins where both
//! have a path. A *layer* adds, wins, and removes; it is laid over exactly the bundles that it names.
//!
//! [`Stack::plan`] says what laying a bundle does to the files that are there; [`Stack::commit`] applies it to the
//! stack.
//!
//! Invariants: a path is an entry of at most one manifest of a stack, and a hard link names a file of its own manifest.
//! Manifests keep their numbers, and are empty where nothing is left of them.
#![forbid(unsafe_code)]

mod bundles;
mod change;
mod commit;
mod error;
mod selection;

pub use bundles::Stack;
pub use change::StackChange;
pub use error::StackError;
pub use selection::wanted;
