//! Defines the manifest of a bundle: its prefixes, every path below them with its `lstat`, and its frames.
//!
//! Invariants: a manifest is untrusted input. [`Manifest::parse`] accepts it only if every entry lies below a prefix,
//! has a directory of the same manifest as its parent, and appears once. Code that writes the files of a parsed
//! manifest can therefore neither leave the tree nor write through a symbolic link.
#![forbid(unsafe_code)]

mod document;
pub mod encoding;
pub mod entry;
mod error;
pub mod frame;
mod freshness;
pub mod layer;
pub mod prefix;
mod rules;
pub mod stack;
pub(crate) mod walk;
pub mod xattr;

pub use document::Manifest;
pub use encoding::{MAGIC, MEMBER, VERSION};
pub use entry::{EntryKind, EntryRecord, EntryStat};
pub use error::ManifestError;
pub use frame::FrameRecord;
pub(crate) use freshness::first_change;
pub use prefix::{Mode, PrefixRecord};
pub use stack::Stack;
