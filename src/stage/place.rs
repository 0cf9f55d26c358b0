//! The user's own directory for stages on a node: `<root>/pyshm-<uid>`.
//!
//! The root is open to everyone, so another user can have made the name first: the directory is only used when it
//! is a real directory, the user's own, and closed to all others, and when nobody else may give its name to another
//! one: the root and all above it belong to the system or the user, and are sticky where others may write to them.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::stage::{Stage, StageId, ownership};

/// What unfinished stages' names begin with.
const UNFINISHED: &str = ".new-";
/// How often the user's directory is made again, which each job of this user that ends removes while it is empty.
const ATTEMPTS: usize = 100;

/// The user's directory.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
    root: PathBuf,
}

impl Place {
    /// Opens the user's directory in `root`, and makes it where it is not there.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when the name is taken by something else, [`Error::CannotWrite`] when it cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        // As the kernel names it: the shim compares it with what the kernel says of descriptors.
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

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the stage `id`.
    #[must_use]
    pub fn stage_dir(&self, id: &StageId) -> PathBuf {
        self.dir.join(id.as_str())
    }

    /// The published stages.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the directory cannot be read.
    pub fn stages(&self) -> Result<Vec<Stage>> {
        let stage = |name: String| {
            StageId::parse(&name).ok().map(|id| Stage {
                dir: self.stage_dir(&id),
                id,
                _lease: None,
            })
        };
        Ok(self.names()?.into_iter().filter_map(stage).collect())
    }

    /// A new name for a stage that is being built.
    pub(super) fn unfinished_dir(&self, id: &StageId) -> PathBuf {
        self.dir.join(format!("{UNFINISHED}{id}-{}", std::process::id()))
    }

    /// Directories of stages that are being built, or whose builder died.
    pub(super) fn unfinished(&self) -> Result<Vec<PathBuf>> {
        Ok(self
            .names()?
            .iter()
            .filter(|n| n.starts_with(UNFINISHED))
            .map(|n| self.dir.join(n))
            .collect())
    }

    /// Removes the directory itself when nothing is left in it.
    pub fn tidy(&self) {
        let _ = std::fs::remove_dir(&self.dir);
    }

    /// The directory for stages of all users.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn names(&self) -> Result<Vec<String>> {
        let failed =
            |cause| Error::NoInput { what: "directory of stages", path: self.dir.clone(), cause };
        let entries = std::fs::read_dir(&self.dir).map_err(failed)?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}
