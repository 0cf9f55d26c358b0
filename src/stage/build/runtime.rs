//! Copies the shim and the trampoline into every stage, so that ranks load them from the node itself.
#![forbid(unsafe_code)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pyshm_format::layout;

use crate::error::{Error, Result};
use crate::install;
use crate::stage::build::unfinished::Unfinished;
use crate::stage::id::StageId;
use crate::stage::info::Info;
use crate::stage::published::Stage;
use crate::stage::user_dir::UserDir;

/// The bytes of the shim and the trampoline.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// `libpyshm.so`
    pub shim: Vec<u8>,
    /// `pyshm-exec`
    pub trampoline: Vec<u8>,
}

impl Runtime {
    /// Reads the shim and the trampoline from the installation.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when one of them is not installed, [`Error::NoInput`] when one of them cannot be read.
    pub fn read() -> Result<Self> {
        let part = |path: std::path::PathBuf| {
            std::fs::read(&path).map_err(Error::read("pyshm's own part", &path))
        };
        Ok(Self { shim: part(install::shim()?)?, trampoline: part(install::trampoline()?)? })
    }

    /// Publishes a hollow stage, with only the shim and the trampoline. A node that could not stage needs a hollow
    /// stage, so that the launcher finds the same program on every node. The ranks of such a node run from the shared
    /// file system.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] when not even this stage can be written.
    pub fn publish_hollow(&self, user_dir: &UserDir, id: &StageId) -> Result<Stage> {
        let dir = Unfinished::create(user_dir, id)?;
        self.install(dir.path())?;
        Info::default().write(dir.path())?;
        dir.publish(user_dir, id)
    }

    /// Writes the shim and the trampoline below `dir`.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] names the file that cannot be written.
    pub(super) fn install(&self, dir: &Path) -> Result<()> {
        for (name, bytes) in [(layout::SHIM, &self.shim), (layout::TRAMPOLINE, &self.trampoline)] {
            let path = dir.join(name);
            let parent = path.parent().unwrap_or(dir);
            let written = std::fs::create_dir_all(parent)
                .and_then(|()| std::fs::write(&path, bytes))
                .and_then(|()| {
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
                });
            written.map_err(Error::write(&path))?;
        }
        Ok(())
    }
}
