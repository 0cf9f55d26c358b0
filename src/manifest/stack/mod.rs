//! Stacks the bundles of one job: for each path, a later bundle replaces an earlier one.
//!
//! A *whole* bundle replaces everything that the bundles below have at and below its prefix, whether this prefix
//! equals, lies in, or contains one of their prefixes. An overlay adds its paths, and wins where both have a path. A
//! *layer* adds, replaces and removes paths. It is laid over exactly the bundles that the layer names.
//!
//! [`Stack::plan`] tells how laying a bundle changes the files of the bundles below; [`Stack::commit`] applies this
//! change to the stack.
//!
//! Invariants:
//! - A path is an entry of at most one manifest of a stack.
//! - A hard link names a file of its own manifest.
//! - A manifest keeps its number, even when it has no entries left.
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
