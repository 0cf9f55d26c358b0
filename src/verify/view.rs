//! Defines a view, one side of a comparison: its paths and the facts that are known of each.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::manifest::prefix::{Mode, PrefixRecord};

/// The type of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathType {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// Anything else.
    Other,
}

/// What is known of a file's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// blake3 of the data.
    Digest([u8; 32]),
    /// The data is not on this side, as intended.
    Elsewhere,
    /// The data is that of this path in the bundles below.
    Below(Vec<u8>),
    /// The data cannot be read, or differs from what the same side records; the text says why.
    Damaged(String),
}

/// The facts of a path that are compared.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The path's type.
    pub kind: PathType,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Size in bytes.
    pub size: u64,
    /// Last modification, in seconds and nanoseconds; `None` where the side does not record it.
    pub mtime: Option<(i64, u32)>,
    /// The target of a symbolic link.
    pub target: Vec<u8>,
    /// The data of a file.
    pub content: FileContent,
}

/// One side of a comparison.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// "bundle", "stage" or "source".
    pub name: &'static str,
    /// Its paths.
    pub paths: BTreeMap<Vec<u8>, Facts>,
    /// The prefixes that it covers.
    pub prefixes: Vec<PrefixRecord>,
    /// Paths that exist in the stage although its index does not have them.
    pub strays: Vec<Vec<u8>>,
    /// Mode bits that this side does not record.
    pub unrecorded_modes: u32,
}

impl View {
    /// Whether an operation on a path that this side does not have passes to the shared file system.
    pub(super) fn passes(&self, path: &[u8]) -> bool {
        let is_below = |p: &&PrefixRecord| {
            path.strip_prefix(p.path.as_slice()).is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        self.prefixes.iter().find(is_below).is_some_and(|p| p.mode == Mode::Overlay)
    }
}
