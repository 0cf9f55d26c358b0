//! A stage that is not published yet: a directory under a temporary name, locked by who builds it, removed when it
//! is dropped, and given its name by one rename.
#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::stage::lease::Lease;
use crate::stage::noexec::Elsewhere;
use crate::stage::{Place, Stage, StageId, noexec};

/// The directory.
pub(in crate::stage) struct Unfinished {
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
        let building = Self::make(place, &dir)?;
        let this = Self { _building: building, dir, elsewhere, published: false };
        Lease::create(&this.dir)?;
        if let Some(elsewhere) = &this.elsewhere {
            elsewhere.link_from(&this.dir)?;
        }
        Ok(this)
    }

    /// Makes the directory and locks it. Before it is locked another job may take it for one that a crash left: it holds
    /// the lock then and removes it, so that this is tried again. So it is where a job that ends removed the user's
    /// directory, which was empty.
    fn make(place: &Place, dir: &Path) -> Result<Lease> {
        const LIMIT: Duration = Duration::from_secs(5);
        let begun = Instant::now();
        loop {
            match std::fs::DirBuilder::new().mode(0o700).create(dir) {
                Ok(()) => {
                    if let Some(building) = Lease::building(dir) {
                        return Ok(building);
                    }
                }
                Err(e) if e.kind() == ErrorKind::NotFound => drop(Place::open(place.root())?),
                // Whoever holds it is about to remove it.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => return Err(Error::write(dir)(e)),
            }
            if begun.elapsed() > LIMIT {
                let said = format!("{} is being removed: try again", dir.display());
                return Err(Error::TryAgain(said));
            }
        }
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
            let elsewhere = noexec::of(&self.dir);
            let _ = std::fs::remove_dir_all(&self.dir);
            if let Some(dir) = elsewhere {
                noexec::remove(&dir);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::stage::collect_garbage;

    #[test]
    fn it_is_made_while_other_jobs_clean_up() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::open(root.path()).unwrap();
        let id = StageId::parse("0123456789abcdef").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = collect_garbage(&place, &[]);
                    place.tidy();
                }
            });
            let made: Result<Vec<()>> =
                (0..50).map(|_| Unfinished::create(&place, &id).map(drop)).collect();
            done.store(true, Ordering::Relaxed);
            made.unwrap();
        });
    }
}
