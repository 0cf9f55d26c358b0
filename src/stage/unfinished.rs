//! A stage that is not published yet: a directory under a temporary name, locked by who builds it, removed when it
//! is dropped, and given its name by one rename.
#![forbid(unsafe_code)]

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

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

    /// Gives the stage its name. Where another one has it meanwhile, that one is as good and is returned, unless it
    /// is hollow: then the two change places, so that the name is never missing.
    pub fn publish(mut self, place: &Place, id: &StageId) -> Result<Stage> {
        let lease = Arc::new(Lease::shared(&self.dir)?);
        let stage = Stage { dir: place.stage_dir(id), id: id.clone(), _lease: Some(lease) };
        let rename = |flags| rustix::fs::renameat_with(CWD, &self.dir, CWD, &stage.dir, flags);
        match rename(RenameFlags::NOREPLACE) {
            Ok(()) => self.published = true,
            Err(Errno::EXIST) if !stage.is_hollow() => {
                let there = Stage::find(place, id).filter(|there| there.lease().is_ok());
                return there.ok_or_else(|| {
                    Error::TryAgain(format!("{stage} is being removed: try again"))
                });
            }
            // What was there is now under the temporary name, and goes with it.
            Err(Errno::EXIST) => {
                rename(RenameFlags::EXCHANGE).map_err(|e| Error::write(&stage.dir)(e.into()))?
            }
            Err(e) => return Err(Error::write(&stage.dir)(e.into())),
        }
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
