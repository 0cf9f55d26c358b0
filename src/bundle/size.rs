//! Adds up the space that bundles take in a stage.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// The space that bundles take in a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Bytes of the files.
    pub bytes: u64,
    /// Number of paths.
    pub entries: u64,
    /// Whether both numbers are lower bounds: the size of a foreign tar is known only after the tar is unpacked.
    pub at_least: bool,
}

impl std::iter::Sum for Size {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), |a, b| Self {
            bytes: a.bytes.saturating_add(b.bytes),
            entries: a.entries.saturating_add(b.entries),
            at_least: a.at_least || b.at_least,
        })
    }
}
