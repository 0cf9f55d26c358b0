//! Makes the directory of a stage under a temporary name, and publishes the stage with one rename. The builder keeps
//! the directory locked. If the value is dropped before it is published, the directory is removed.
#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::stage::id::StageId;
use crate::stage::lease::Lease;
use crate::stage::noexec;
use crate::stage::noexec::ExecDir;
use crate::stage::published::Stage;
use crate::stage::user_dir::UserDir;

/// The directory of a stage that is not published yet.
pub(super) struct Unfinished {
    dir: PathBuf,
    _building: Lease,
    /// The exec directory, if shim and trampoline cannot lie in the stage itself.
    exec_dir: Option<ExecDir>,
    published: bool,
}

impl Unfinished {
    /// Creates the directory for the stage `id`, and its exec directory if it needs one.
    ///
    /// # Errors
    /// [`Error::CannotWrite`], [`Error::TryAgain`], or as [`ExecDir::needed_for`].
    pub fn create(user_dir: &UserDir, id: &StageId) -> Result<Self> {
        let exec_dir = ExecDir::needed_for(user_dir, id)?;
        let dir = user_dir.unfinished_dir(id);
        let building = Self::make(user_dir, &dir)?;
        let this = Self { _building: building, dir, exec_dir, published: false };
        Lease::create_file(&this.dir)?;
        if let Some(exec_dir) = &this.exec_dir {
            exec_dir.link_from(&this.dir)?;
        }
        Ok(this)
    }

    /// Makes the directory and locks it. Another job may remove the new directory before it is locked, because the
    /// directory looks like one that a crash left. A job that ends may remove the user's empty directory. In both cases
    /// the attempt is repeated.
    fn make(user_dir: &UserDir, dir: &Path) -> Result<Lease> {
        const LIMIT: Duration = Duration::from_secs(5);
        let begun = Instant::now();
        loop {
            match std::fs::DirBuilder::new().mode(0o700).create(dir) {
                Ok(()) => {
                    if let Some(building) = Lease::building(dir) {
                        return Ok(building);
                    }
                }
                Err(e) if e.kind() == ErrorKind::NotFound => drop(UserDir::open(user_dir.root())?),
                // Another job has locked the directory and is about to remove it.
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

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Renames the directory to the stage's name. If another stage has that name by now, the other stage is returned
    /// instead. If the other stage is hollow, the two stages exchange their names, so that the name never disappears.
    /// If the other stage is being removed, this waits until it is gone: the process that removes it works by name, and
    /// would remove files of the new stage.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] when the directory cannot be renamed, [`Error::Untrusted`] when something else has the
    /// name, [`Error::TryAgain`] when the removal takes too long.
    pub fn publish(mut self, user_dir: &UserDir, id: &StageId) -> Result<Stage> {
        const LIMIT: Duration = Duration::from_secs(20);
        let lease = Arc::new(Lease::shared(&self.dir)?);
        let dir = user_dir.stage_dir(id);
        let stage = Stage { dir, id: id.clone(), _publisher: Some(lease) };
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
            // Nobody removes the stage that has the name while this process has a lease on it.
            if let Ok(lease) = Lease::shared(&stage.dir) {
                if !stage.is_hollow() {
                    return Ok(Stage { _publisher: Some(Arc::new(lease)), ..stage.clone() });
                }
                // The hollow stage now has the temporary name, and is removed when `self` is dropped.
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
            // The exec directory is read from the links, because by now the directory may be that of a hollow stage.
            let exec_dir = noexec::exec_dir_of(&self.dir);
            let _ = std::fs::remove_dir_all(&self.dir);
            if let Some(dir) = exec_dir {
                noexec::remove(&dir);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::stage::gc::collect_garbage;

    #[test]
    fn a_directory_is_made_while_other_jobs_clean_up() {
        let root = tempfile::tempdir().unwrap();
        let user_dir = UserDir::open(root.path()).unwrap();
        let id = StageId::parse("0123456789abcdef").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = collect_garbage(&user_dir, &[]);
                    user_dir.tidy();
                }
            });
            let made: Result<Vec<()>> =
                (0..50).map(|_| Unfinished::create(&user_dir, &id).map(drop)).collect();
            done.store(true, Ordering::Relaxed);
            made.unwrap();
        });
    }
}
