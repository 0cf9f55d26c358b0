//! Compares prefixes on the shared file system with their recorded `lstat`s.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::manifest::document::Manifest;
use crate::manifest::entry::EntryStat;
use crate::manifest::prefix::PrefixRecord;
use crate::manifest::walk;

impl Manifest {
    /// Returns the first path below the prefixes that is new or gone, or whose recorded `lstat` differs (see
    /// [`EntryStat::is_unchanged`]); `None` while the bundle is fresh.
    ///
    /// The device number is not compared, because each node numbers its own mounts.
    ///
    /// # Errors
    /// [`Error::NoInput`](crate::error::Error::NoInput) when a prefix cannot be read.
    pub fn first_change(&self) -> Result<Option<PathBuf>> {
        first_change(&self.prefixes, self.entries.iter().map(|e| (e.path(), &e.stat)).collect())
    }
}

/// Returns the first path below `prefixes` that differs from `recorded`, which holds every path there.
pub(crate) fn first_change(
    prefixes: &[PrefixRecord],
    mut recorded: HashMap<&Path, &EntryStat>,
) -> Result<Option<PathBuf>> {
    for prefix in prefixes {
        for found in walk::walk(prefix.path()) {
            let found = found?;
            match recorded.remove(found.path.as_path()) {
                Some(stat) if stat.is_unchanged(&found.stat) => {}
                _ => return Ok(Some(found.path)),
            }
        }
    }
    Ok(recorded.into_keys().min().map(Path::to_path_buf))
}
