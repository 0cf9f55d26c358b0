//! `stage.json`: the description of a stage, for users, for `pyshm status`, and for later stages.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use pyshm_format::layout;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stage::id::Identity;
use crate::stage::ownership;
use crate::stage::reuse::saved_manifest::SavedManifest;

/// The description of a stage.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Info {
    /// The bundles that were staged, in their order.
    pub bundles: Vec<PathBuf>,
    /// The job's bundles as they were when the stage was built, also those that the job did not need.
    #[serde(default)]
    pub identities: Vec<Identity>,
    /// The prefixes that the stage answers for.
    pub prefixes: Vec<PathBuf>,
    /// For each prefix, the number in `bundles` of the bundle that brought it.
    #[serde(default)]
    pub brought_by: Vec<usize>,
    /// For each bundle that is a foreign tar, when the tar's file was written, in seconds and nanoseconds; `None` for
    /// the other bundles.
    #[serde(default)]
    pub written: Vec<Option<(i64, i64)>>,
    /// For each bundle, its manifest in this stage. A later stage needs the manifest to adopt the bundle.
    #[serde(default)]
    pub manifests: Vec<SavedManifest>,
    /// Number of paths in the index.
    pub entries: u64,
    /// Bytes of the bundles.
    pub bundle_bytes: u64,
    /// Bytes of the stage's files.
    pub unpacked_bytes: u64,
    /// When the stage was published, in seconds since the epoch.
    pub created: u64,
    /// Whether the stage stays after use, until a user removes it by name.
    pub keep: bool,
}

impl Info {
    /// Reads the description of the stage in `dir`.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the description is missing, is damaged, or belongs to another user.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(layout::INFO);
        let text = ownership::read(&path).map_err(Error::read("stage", &path))?;
        serde_json::from_slice(&text).map_err(|e| Error::read("stage", &path)(e.into()))
    }

    /// Writes the description of the stage in `dir`.
    ///
    /// # Errors
    /// [`Error::CannotWrite`].
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(layout::INFO);
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::write(&path)(e.into()))?;
        std::fs::write(&path, text).map_err(Error::write(&path))
    }
}
