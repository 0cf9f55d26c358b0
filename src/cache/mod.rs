//! Keeps the bundles that pyshm packed automatically, one entry for each prefix.
//!
//! ```text
//! <cache>/<name>-<hash of the prefix>/
//!     bundle.tar.zst     the bundle
//!     manifest           a copy of its manifest, so that no check has to open the bundle
//!     info.json          prefix, sizes, tool
//!     used               a file whose modification time is the time of the last use
//!     use-<host>-<pid>   a process reads the bundle now
//!     lock               a process packs the bundle now, see [`lock`]
//! <cache>/prefixes       what configured bundles cover, see [`prefixes`]
//! ```
//!
//! The cache usually lies on the shared file system, where `flock` cannot be trusted, so files are published by rename.
//!
//! Invariants: the bundle is published before its manifest. So if a manifest is fresh, the bundle beside it is not
//! older.
#![forbid(unsafe_code)]

mod directory;
mod ensure;
mod entry;
mod lock;
mod names;
pub mod prefixes;
mod prune;

pub use directory::{cap, directory};
pub use ensure::{Cached, ensure};
pub use entry::{EntryInfo, UseMark};
pub use prune::{PruneOptions, list, prune};
