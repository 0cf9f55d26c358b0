//! Builds a stage: writes its tree, its index and its other files under a temporary name, and publishes the stage.
//!
//! ```text
//! stage_build   the steps: unpack or adopt each bundle, then publish
//! incoming      what is known about a bundle before its bytes arrive
//! unfinished    the directory under a temporary name, and the rename that publishes it
//! stream        the bytes of a bundle as they arrive
//! frames, files unpack a bundle that pyshm made, with several threads
//! foreign_tar   unpacks a foreign tar
//! stacking      lays one bundle over others: deletes the files that the new bundle replaces or removes
//! tree          directories, links and edited libraries
//! index, env_file, runtime   the other parts of a stage
//! ```
#![forbid(unsafe_code)]

mod env_file;
mod files;
mod foreign_tar;
mod frames;
mod incoming;
mod index;
mod runtime;
mod stacking;
mod stage_build;
mod stream;
mod tree;
mod unfinished;

pub use crate::stage::build::incoming::IncomingBundle;
pub use crate::stage::build::runtime::Runtime;
pub use crate::stage::build::stage_build::{StageBuild, Unpacked};
