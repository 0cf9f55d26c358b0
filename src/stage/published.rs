//! Finds, describes and removes published stages.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use pyshm_format::{Index, layout, state};

use crate::error::{Error, Result};
use crate::stage::id::StageId;
use crate::stage::info::Info;
use crate::stage::lease::Lease;
use crate::stage::user_dir::UserDir;
use crate::stage::{lease, noexec, ownership};

/// A published stage.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The stage's directory.
    pub dir: PathBuf,
    /// The stage's name in the user's directory.
    pub id: StageId,
    /// The publisher's lease. From the publication to the first hold, this lease keeps others from removing the stage.
    pub(super) _publisher: Option<Arc<Lease>>,
}

impl Stage {
    /// Finds the stage `id` in `user_dir`; `None` when there is none. A hollow stage is found too.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when the name is taken by something that this user's pyshm did not make.
    pub fn find(user_dir: &UserDir, id: &StageId) -> Result<Option<Self>> {
        let stage = Self { dir: user_dir.stage_dir(id), id: id.clone(), _publisher: None };
        stage.check()?;
        Ok(stage.dir.join(layout::TRAMPOLINE).exists().then_some(stage))
    }

    /// Lists all stages in `user_dir`, also those that are not trusted.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the directory cannot be read.
    pub fn all(user_dir: &UserDir) -> Result<Vec<Self>> {
        let ids = user_dir.stage_ids()?.into_iter();
        Ok(ids.map(|id| Self { dir: user_dir.stage_dir(&id), id, _publisher: None }).collect())
    }

    /// Checks that the stage's directory, and the files in it that decide what ranks see, belong to this user.
    ///
    /// # Errors
    /// [`Error::Untrusted`] names the first one that does not belong to this user.
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

    /// Whether the stage has only the shim and the trampoline, so that programs run from the shared file system.
    #[must_use]
    pub fn is_hollow(&self) -> bool {
        !self.dir.join(layout::INDEX).exists()
    }

    /// Takes a lease on the stage. Nobody removes the stage while the lease lives.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the stage is gone, [`Error::TryAgain`] when the stage is being removed.
    pub fn lease(&self) -> Result<Lease> {
        Lease::shared(&self.dir)
    }

    /// Whether a process has a lease on the stage, or has the stage's index mapped.
    #[must_use]
    pub fn in_use(&self) -> bool {
        Lease::exclusive(&self.dir).is_none() || lease::is_mapped(&self.dir)
    }

    /// Returns how many operations the ranks' shims answered locally, and how many they passed to the shared file
    /// system.
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        ownership::read(&self.dir.join(layout::STATE))
            .map_or((0, 0), |bytes| state::counters(&bytes))
    }

    /// Reads the stage's description.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the description is missing or cannot be read.
    pub fn info(&self) -> Result<Info> {
        Info::read(&self.dir)
    }

    /// Lists every path that the stage answers for, sorted, with the bundle that brought it.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the description or the index cannot be read.
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

    /// Makes the stage stay until a user removes it by name.
    ///
    /// # Errors
    /// As [`Stage::info`], and [`Error::CannotWrite`].
    pub fn keep(&self) -> Result<()> {
        let info = self.info()?;
        if info.keep { Ok(()) } else { Info { keep: true, ..info }.write(&self.dir) }
    }

    /// Removes the stage unless it is in use, and returns whether the stage is gone. Nobody can begin to use the stage
    /// meanwhile.
    ///
    /// # Errors
    /// As [`Stage::purge`].
    pub fn purge_unused(self) -> Result<bool> {
        match Lease::exclusive(&self.dir).filter(|_| !lease::is_mapped(&self.dir)) {
            Some(_exclusive) => self.purge().map(|()| true),
            None => Ok(false),
        }
    }

    /// Removes the stage, and its shim last: a process that starts meanwhile still finds the file that `LD_PRELOAD`
    /// names.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] names what cannot be removed.
    pub fn purge(self) -> Result<()> {
        if self.dir.symlink_metadata().is_ok_and(|m| !m.is_dir()) {
            // Something else than a stage has the name. If it is a symbolic link, its target stays.
            return std::fs::remove_file(&self.dir).map_err(Error::write(&self.dir));
        }
        // The stage's link to an exec directory is followed only if the stage belongs to this user.
        let exec_dir = self.check().ok().and_then(|()| noexec::exec_dir_of(&self.dir));
        // The index is removed first: a process that starts now uses the shared file system, and not a tree that is
        // half removed.
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
        if let Some(dir) = exec_dir {
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
