//! A stage: the copy of a job's bundles on one node, usually in `/dev/shm`.
//!
//! [`build`] makes one under a temporary name and publishes it with one rename; [`session`] does so from a file on
//! this node, `bcast` from what MPI delivers. What [`reuse::divergence`] knows makes one usable again, and [`reuse::adopt`] takes from it
//! what a new one has in common with it. Whoever uses a stage holds its [`lease`]; whoever is last purges it.
//! What lies where in a stage is said in [`pyshm_format::layout`].
// All below is `forbid(unsafe_code)` but `shared_state` and `memory`.
#![deny(unsafe_code)]

pub mod build;
mod build_options;
pub mod hold;
mod id;
mod info;
pub mod job_record;
mod lease;
pub mod limits;
pub mod noexec;
mod ownership;
mod place;
pub mod reuse;
pub mod session;
#[allow(unsafe_code, reason = "it maps what ranks change at the same time")]
mod shared_state;
mod staged_file;
pub mod teardown;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use pyshm_format::{Index, layout, state};

use crate::error::{Error, Result};
pub use crate::stage::build::runtime::Runtime;
pub use crate::stage::build::{StageBuild, Unpacked};
pub use crate::stage::build_options::BuildOptions;
pub use crate::stage::id::{Identity, StageId};
pub use crate::stage::info::Info;
pub use crate::stage::lease::Lease;
pub use crate::stage::place::Place;

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
    ///
    /// # Errors
    /// [`Error::Untrusted`] where the name is taken by what this user's pyshm has not made.
    pub fn find(place: &Place, id: &StageId) -> Result<Option<Self>> {
        let stage = Self { dir: place.stage_dir(id), id: id.clone(), _lease: None };
        stage.check()?;
        Ok(stage.dir.join(layout::TRAMPOLINE).exists().then_some(stage))
    }

    /// Whether its directory and the files that decide over it are this user's own.
    ///
    /// # Errors
    /// [`Error::Untrusted`] where one is not.
    pub fn check(&self) -> Result<()> {
        if ownership::directory(&self.dir, 0o022)? {
            let files = [
                layout::INDEX,
                layout::STATE,
                layout::LEASE,
                layout::INFO,
                layout::SHIM,
                layout::TRAMPOLINE,
            ];
            for name in files {
                ownership::file(&self.dir.join(name))?;
            }
        }
        Ok(())
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
        ownership::read(&self.dir.join(layout::STATE))
            .map_or((0, 0), |bytes| state::counters(&bytes))
    }

    /// What was staged.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the stage has no readable description.
    pub fn info(&self) -> Result<Info> {
        Info::read(&self.dir)
    }

    /// Every path that the stage answers for, with the bundle that brought it.
    ///
    /// # Errors
    /// [`Error::NoInput`] when description or index cannot be read.
    pub fn paths(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        let info = self.info()?;
        let path = self.dir.join(layout::INDEX);
        let bytes = ownership::read(&path).map_err(Error::read("stage", &path))?;
        let damaged = |e: pyshm_format::FormatError| std::io::Error::other(e.to_string());
        let index = Index::parse(&bytes).map_err(damaged).map_err(Error::read("stage", &path))?;
        let to_path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let entries = (0..index.len()).filter_map(|number| index.entry(number));
        let mut paths: Vec<_> = entries
            .map(|e| (to_path(e.path()), info.bundles.get(e.bundle()).cloned().unwrap_or_default()))
            .collect();
        paths.sort();
        Ok(paths)
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
        if self.dir.symlink_metadata().is_ok_and(|m| !m.is_dir()) {
            // No stage, only its name: what a link leads to is not ours to remove.
            return std::fs::remove_file(&self.dir).map_err(Error::write(&self.dir));
        }
        // Only where the link is this user's own is what it leads to.
        let elsewhere = self.check().ok().and_then(|()| noexec::of(&self.dir));
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
            noexec::remove(&dir);
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
/// that nobody asked to keep, or that were kept of a bundle that one of `bundles` has replaced: they would never be
/// found again. Returns what was removed.
///
/// # Errors
/// [`Error::NoInput`] when the place cannot be read.
pub fn collect_garbage(place: &Place, bundles: &[Identity]) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for dir in place.unfinished()? {
        if let Some(_held) = Lease::building(&dir) {
            let elsewhere = noexec::of(&dir);
            std::fs::remove_dir_all(&dir).map_err(Error::write(&dir))?;
            elsewhere.iter().for_each(|dir| noexec::remove(dir));
            removed.push(dir);
        }
    }
    for stage in place.stages()? {
        let kept = stage.info().is_ok_and(|info| {
            let replaced = |old| bundles.iter().any(|new| new.replaces(old));
            info.keep && !info.identities.iter().any(replaced)
        });
        let dir = stage.dir.clone();
        // What others have put there is theirs to remove, and no reason to fail.
        if !kept && stage.check().is_ok() && stage.purge_unused()? {
            removed.push(dir);
        }
    }
    removed.extend(noexec::collect_garbage());
    Ok(removed)
}
