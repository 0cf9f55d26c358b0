//! Foreign tars: bundles made by GNU tar, bsdtar, Python, conda-pack and the like, compressed or not.
//!
//! A foreign tar has no manifest: its members come in the order of the stream, and nothing is known of one before it
//! comes. The prefix is what the user says ([`placement`]); everything else is made up ([`catalog`]).
//!
//! Invariants: nothing is written outside the prefix or through a link. No header is trusted: [`members`] accepts only
//! well-formed ones, [`catalog`] only members that lie in directories of the archive itself.
#![forbid(unsafe_code)]

pub mod catalog;
mod compression;
mod description;
mod error;
mod header;
pub mod members;
mod pax;
mod placement;
mod sparse;
pub mod walk;

pub use compression::Compression;
pub use description::{Archive, Scope};
pub use error::{ArchiveError, MemberProblem};
pub use placement::Placement;
