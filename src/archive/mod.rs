//! Bundles that pyshm did not make: tars by GNU tar, bsdtar, Python, conda-pack and the like, compressed or not.
//!
//! They have no manifest: their members come in the stream's order and nothing is known before it comes. What they
//! lack is said by who names them, the prefix ([`placement`]), or made up ([`catalog`]). What a header says is believed
//! in no respect: [`members`] only takes well-formed ones, and [`catalog`] only what lies in directories of the archive
//! itself, so that nothing is written outside the prefix or through a link.
//!
//! Reasons are a sentence's end, "bundle X is refused: …".
#![forbid(unsafe_code)]

pub mod catalog;
pub mod compression;
pub mod members;
mod pax;
pub mod placement;
mod sparse;
pub mod walk;

pub use crate::archive::compression::Compression;
pub use crate::archive::placement::Placement;
