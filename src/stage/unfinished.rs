//! A stage that is not published yet: a directory under a temporary name, locked by who builds it, removed when it
//! is dropped, and given its name by one rename.
#![forbid(unsafe_code)]

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::elsewhere::{self, Elsewhere};
use super::lease::Lease;
use super::{Place, Stage, StageId};
use crate::error::{Error, Result};

/// The directory.
pub(super) struct Unfinished {
    dir: PathBuf,
    _building: Lease,
    /// Where shim and trampoline lie, if not in it.
    elsewhere: Option<Elsewhere>,
    published: bool,
}

impl Unfinished {
    pub fn create(place: &Place, id: &StageId) -> Result<Self> {
        let elsewhere = Elsewhere::needed_for(place, id)?;
        let dir = place.unfinished_dir(id);
        // Another job that ends may remove the user's directory while it is empty.
        let mut attempts = 0;
        while let Err(e) = std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            attempts += 1;
            if e.kind() != std::io::ErrorKind::NotFound || attempts > 10 {
                return Err(Error::write(&dir)(e));
            }
            Place::open(place.root())?;
        }
        let failed = || Error::TryAgain(format!("{} is being removed: try again", dir.display()));
        let building = Lease::building(&dir).ok_or_else(failed)?;
        let this = Self { _building: building, dir, elsewhere, published: false };
        Lease::create(&this.dir)?;
        if let Some(elsewhere) = &this.elsewhere {
            elsewhere.link_from(&this.dir)?;
        }
        Ok(this)
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Gives the stage its name. Where another one has it meanwhile, that one is as good and is returned, unless it
    /// is hollow: then the two change places, so that the name is never missing. One that is being removed is waited
    /// for: its remover works by name, and must not meet this one.
    pub fn publish(mut self, place: &Place, id: &StageId) -> Result<Stage> {
        const LIMIT: Duration = Duration::from_secs(20);
        let lease = Arc::new(Lease::shared(&self.dir)?);
        let stage = Stage { dir: place.stage_dir(id), id: id.clone(), _lease: Some(lease) };
        let rename = |flags| rustix::fs::renameat_with(CWD, &self.dir, CWD, &stage.dir, flags);
        let begun = Instant::now();
        loop {
            stage.check()?;
            match rename(RenameFlags::NOREPLACE) {
                Ok(()) => {
                    self.published = true;
                    return Ok(stage);
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::write(&stage.dir)(e.into())),
            }
            // With a lease on what is there nobody removes it.
            if let Ok(lease) = Lease::shared(&stage.dir) {
                if !stage.is_hollow() {
                    return Ok(Stage { _lease: Some(Arc::new(lease)), ..stage.clone() });
                }
                // What was there is now under the temporary name, and goes with it.
                rename(RenameFlags::EXCHANGE).map_err(|e| Error::write(&stage.dir)(e.into()))?;
                return Ok(stage);
            }
            if begun.elapsed() > LIMIT {
                return Err(Error::TryAgain(format!("{stage} is being removed: try again")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.published {
            // What it leads to now: the two may have changed places.
            let elsewhere = elsewhere::of(&self.dir);
            let _ = std::fs::remove_dir_all(&self.dir);
            if let Some(dir) = elsewhere {
                elsewhere::remove(&dir);
            }
        }
    }
}
