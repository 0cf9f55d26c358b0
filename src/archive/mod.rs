//! Reads foreign tars: bundles made by GNU tar, bsdtar, Python, conda-pack and the like, compressed or not.
//!
//! A foreign tar has no manifest: nothing is known of a member before it arrives in the stream. The user names the
//! prefix ([`placement`]). [`catalog`] derives everything else that a manifest records.
//!
//! Invariants:
//! - Nothing is written outside the prefix or through a link.
//! - No header is trusted: [`members`] accepts only well-formed headers, [`catalog`] only members that lie in
//!   directories of the archive itself.
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
