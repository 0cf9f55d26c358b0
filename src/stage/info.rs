//! `stage.json`: what a stage holds, for people and for `pyshm status`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use pyshm_format::layout;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stage::reuse::saved_manifest::Kept;
use crate::stage::{Identity, ownership};

/// The description of a stage.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Info {
    /// The bundles, in their order.
    pub bundles: Vec<PathBuf>,
    /// What the bundles were when they were staged.
    #[serde(default)]
    pub identities: Vec<Identity>,
    /// The prefixes that the stage stands in for.
    pub prefixes: Vec<PathBuf>,
    /// Which bundle brought each of them, by its number.
    #[serde(default)]
    pub brought_by: Vec<usize>,
    /// Of each bundle that is a tar that others made: when the file was written, seconds and nanoseconds.
    #[serde(default)]
    pub written: Vec<Option<(i64, i64)>>,
    /// Of each bundle, in their order: its manifest, which makes it one that other stages can be made from.
    #[serde(default)]
    pub kept: Vec<Kept>,
    /// Number of paths in the index.
    pub entries: u64,
    /// Bytes of the bundles.
    pub bundle_bytes: u64,
    /// Bytes that the stage's files take.
    pub unpacked_bytes: u64,
    /// When it was published, seconds since the epoch.
    pub created: u64,
    /// Someone asked to keep it: only `pyshm unstage` removes it.
    pub keep: bool,
}

impl Info {
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(layout::INFO);
        let text = ownership::read(&path).map_err(Error::read("stage", &path))?;
        serde_json::from_slice(&text).map_err(|e| Error::read("stage", &path)(e.into()))
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(layout::INFO);
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::write(&path)(e.into()))?;
        std::fs::write(&path, text).map_err(Error::write(&path))
    }
}
