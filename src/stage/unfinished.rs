//! A stage that is not published yet: a directory under a temporary name, locked by who builds it, removed when it
//! is dropped, and given its name by one rename.
#![forbid(unsafe_code)]

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lease::Lease;
use super::{Place, Stage, StageId};
use crate::error::{Error, Result};

/// The directory.
pub(super) struct Unfinished {
    dir: PathBuf,
    _building: Lease,
    published: bool,
}

impl Unfinished {
    pub fn create(place: &Place, id: &StageId) -> Result<Self> {
        let dir = place.unfinished_dir(id);
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(Error::write(&dir))?;
        let failed = || Error::TryAgain(format!("{} is being removed: try again", dir.display()));
        let this =
            Self { _building: Lease::building(&dir).ok_or_else(failed)?, dir, published: false };
        Lease::create(&this.dir)?;
        Ok(this)
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    pub fn publish(mut self, place: &Place, id: &StageId) -> Result<Stage> {
        let lease = Arc::new(Lease::shared(&self.dir)?);
        let stage = Stage { dir: place.stage_dir(id), id: id.clone(), _lease: Some(lease) };
        std::fs::rename(&self.dir, &stage.dir).map_err(Error::write(&stage.dir))?;
        self.published = true;
        Ok(stage)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.published {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
