//! Opens and lists the user's own directory for stages on a node, `<root>/pyshm-<uid>`.
//!
//! Everyone may write to the root, so another user may have taken the directory's name first.
//!
//! Invariants:
//! - The directory is used only if it is a real directory, belongs to the user, and is closed to everyone else.
//! - Nobody else can replace the directory by another one: the root and each directory above the root belong to the
//!   system or to the user. If others may write to one of them, it has the sticky bit.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::stage::id::StageId;
use crate::stage::ownership;

/// The start of the names of unfinished stages.
const UNFINISHED: &str = ".new-";
/// Maximum number of attempts to make the directory. An attempt fails if another job of this user ends just then and
/// removes the directory, because it is empty.
const ATTEMPTS: usize = 100;

/// The user's directory for stages.
#[derive(Debug, Clone)]
pub struct UserDir {
    dir: PathBuf,
    root: PathBuf,
}

impl UserDir {
    /// Opens the user's directory in `root`, and makes it if it is missing.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when something else has taken the directory's name, [`Error::CannotWrite`] when the
    /// directory cannot be made, [`Error::TryAgain`] when jobs that end remove the directory after each attempt.
    pub fn open(root: &Path) -> Result<Self> {
        // The path is canonical, because the shim compares it with the paths that the kernel gives for descriptors.
        let root = std::fs::canonicalize(root).map_err(Error::read("root directory", root))?;
        ownership::root(&root)?;
        let uid = rustix::process::geteuid().as_raw();
        let dir = root.join(format!("pyshm-{uid}"));
        for _ in 0..ATTEMPTS {
            match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::write(&dir)(e));
                }
                _ => {}
            }
            if ownership::directory(&dir, 0o077)? {
                return Ok(Self { dir, root });
            }
        }
        Err(Error::TryAgain(format!("{} is being removed: try again", dir.display())))
    }

    /// The directory's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The root that all users share.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of the stage `id`.
    #[must_use]
    pub fn stage_dir(&self, id: &StageId) -> PathBuf {
        self.dir.join(id.as_str())
    }

    /// Lists the names of the published stages.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the directory cannot be read.
    pub(super) fn stage_ids(&self) -> Result<Vec<StageId>> {
        Ok(self.names()?.iter().filter_map(|name| StageId::parse(name).ok()).collect())
    }

    /// The path at which this process builds the stage `id`.
    pub(super) fn unfinished_dir(&self, id: &StageId) -> PathBuf {
        self.dir.join(format!("{UNFINISHED}{id}-{}", std::process::id()))
    }

    /// Lists the paths of stages that are being built, or whose builder died.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the directory cannot be read.
    pub(super) fn unfinished(&self) -> Result<Vec<PathBuf>> {
        let names = self.names()?;
        let unfinished = names.iter().filter(|name| name.starts_with(UNFINISHED));
        Ok(unfinished.map(|name| self.dir.join(name)).collect())
    }

    /// Removes the directory if it is empty.
    pub fn tidy(&self) {
        let _ = std::fs::remove_dir(&self.dir);
    }

    fn names(&self) -> Result<Vec<String>> {
        let failed =
            |cause| Error::NoInput { what: "directory of stages", path: self.dir.clone(), cause };
        let entries = match std::fs::read_dir(&self.dir) {
            // Another job of this user has ended since the directory was opened, and has removed it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}
