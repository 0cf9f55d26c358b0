//! A stage: the copy of a job's bundles on one node, usually in `/dev/shm`.
//!
//! [`build`] makes one under a temporary name and publishes it with one rename; [`local`] does so from a file on
//! this node, `bcast` from what MPI delivers. Whoever uses a stage holds its [`lease`]; whoever is last purges it.
//! What lies where in a stage is said in [`pyshm_format::layout`].
#![forbid(unsafe_code)]

pub mod build;
pub mod elsewhere;
mod files;
mod id;
mod index;
mod info;
mod lease;
pub mod local;
mod place;
mod reroute;
mod runtime;
mod space;
mod tree;
mod unfinished;

use std::path::PathBuf;
use std::sync::Arc;

pub use build::{BuildOptions, StageBuild, Unpacked};
pub use id::StageId;
pub use info::Info;
pub use lease::Lease;
pub use place::Place;
use pyshm_format::{layout, state};
pub use runtime::Runtime;

use crate::error::{Error, Result};

/// A published stage.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its directory.
    pub dir: PathBuf,
    /// Its name in its place.
    pub id: StageId,
    /// Held by who published it, so that no one sees it unused between that and the first lease.
    _lease: Option<Arc<Lease>>,
}

impl Stage {
    /// The stage `id` in `place`, if it is there. A hollow one is found too.
    #[must_use]
    pub fn find(place: &Place, id: &StageId) -> Option<Self> {
        let dir = place.stage_dir(id);
        dir.join(layout::TRAMPOLINE).exists().then(|| Self { dir, id: id.clone(), _lease: None })
    }

    /// Whether it has only the shim and the trampoline, so that programs run from the shared file system.
    #[must_use]
    pub fn is_hollow(&self) -> bool {
        !self.dir.join(layout::INDEX).exists()
    }

    /// Says that this process uses the stage, for as long as the lease lives.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the stage is gone.
    pub fn lease(&self) -> Result<Lease> {
        Lease::shared(&self.dir)
    }

    /// Whether a process holds a lease or has the index mapped.
    #[must_use]
    pub fn in_use(&self) -> bool {
        Lease::exclusive(&self.dir).is_none() || lease::is_mapped(&self.dir)
    }

    /// Operations that ranks' shims answered locally, and that they passed to the shared file system.
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        std::fs::read(self.dir.join(layout::STATE)).map_or((0, 0), |bytes| state::counters(&bytes))
    }

    /// What was staged.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the stage has no readable description.
    pub fn info(&self) -> Result<Info> {
        Info::read(&self.dir)
    }

    /// Removes the stage unless it is in use; whether it is gone. Nobody begins to use it meanwhile.
    ///
    /// # Errors
    /// As [`Stage::purge`].
    pub fn purge_unused(self) -> Result<bool> {
        match Lease::exclusive(&self.dir).filter(|_| !lease::is_mapped(&self.dir)) {
            Some(_held) => self.purge().map(|()| true),
            None => Ok(false),
        }
    }

    /// Makes the stage stay until someone removes it by name.
    ///
    /// # Errors
    /// As [`Stage::info`], and [`Error::CannotWrite`].
    pub fn keep(&self) -> Result<()> {
        let info = self.info()?;
        if info.keep { Ok(()) } else { Info { keep: true, ..info }.write(&self.dir) }
    }

    /// Removes the stage. The shim goes last: a process that starts meanwhile still finds what `LD_PRELOAD` names.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] when something in it cannot be removed.
    pub fn purge(self) -> Result<()> {
        let elsewhere = elsewhere::of(&self.dir);
        // The index first: a process that starts now falls back at once instead of finding half a tree.
        let _ = std::fs::remove_file(self.dir.join(layout::INDEX));
        for part in [layout::FS, layout::ORIG, ""] {
            let part = self.dir.join(part);
            match std::fs::remove_dir_all(&part) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::write(&part)(e));
                }
                _ => {}
            }
        }
        if let Some(dir) = elsewhere {
            elsewhere::remove(&dir);
        }
        Ok(())
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.dir.display().fmt(f)
    }
}

/// Removes from `place` what no one uses: unfinished stages whose builder died, and stages whose users are gone and
/// that nobody asked to keep. Returns what was removed.
///
/// # Errors
/// [`Error::NoInput`] when the place cannot be read.
pub fn collect_garbage(place: &Place) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for dir in place.unfinished()? {
        if let Some(_held) = Lease::building(&dir) {
            let elsewhere = elsewhere::of(&dir);
            std::fs::remove_dir_all(&dir).map_err(Error::write(&dir))?;
            elsewhere.iter().for_each(|dir| elsewhere::remove(dir));
            removed.push(dir);
        }
    }
    for stage in place.stages()? {
        let kept = stage.info().is_ok_and(|info| info.keep);
        let dir = stage.dir.clone();
        if !kept && stage.purge_unused()? {
            removed.push(dir);
        }
    }
    removed.extend(elsewhere::collect_garbage());
    Ok(removed)
}
