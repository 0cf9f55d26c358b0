//! Holds the manifest as a structure in memory, and computes values that depend on it alone.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::frame::{Codec, FrameRecord};
use crate::manifest::layer::Layer;
use crate::manifest::prefix::{PrefixRecord, covers};
use crate::manifest::xattr::Xattrs;

/// Everything a bundle says about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Name and version of the program that wrote the manifest.
    pub tool: String,
    /// When packing began, in seconds since the epoch.
    pub created: u64,
    /// How the frames are compressed.
    pub codec: Codec,
    /// The prefixes; none lies below another.
    pub prefixes: Vec<PrefixRecord>,
    /// Every path at and below the prefixes, parents before children.
    pub entries: Vec<EntryRecord>,
    /// The frames that follow the manifest's own, in the order of the stream.
    pub frames: Vec<FrameRecord>,
    /// The entries' extended attributes; `None` where they were not recorded.
    #[serde(skip)]
    pub xattrs: Option<Xattrs>,
    /// The record that only layers have; `None` for a whole bundle.
    #[serde(skip)]
    pub layer: Option<Layer>,
    /// blake3 of the bytes that the manifest was parsed from: a layer names the bundles below it by this digest. Zero
    /// for a manifest that was not parsed.
    #[serde(skip)]
    pub digest: [u8; 32],
}

impl Manifest {
    /// Returns the bytes that the unpacked files take, in whole pages as a memory file system stores them.
    #[must_use]
    pub fn unpacked_bytes(&self) -> u64 {
        const PAGE: u64 = 4096;
        let pages = |e: &EntryRecord| match e.kind {
            EntryKind::File { .. } => e.stat.size.div_ceil(PAGE) * PAGE,
            _ => 0,
        };
        self.entries.iter().map(pages).sum()
    }

    /// Whether one of `paths` lies at or below a prefix, in any of its spellings.
    #[must_use]
    pub fn covers(&self, paths: &[PathBuf]) -> bool {
        covers(&self.prefixes, paths)
    }
}
