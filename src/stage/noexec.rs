//! Makes an exec directory for the shim and the trampoline below another node-local root if the file system of the
//! stage is mounted `noexec`.
//!
//! ```text
//! /dev/shm/pyshm-<uid>/<id>/lib, bin      symbolic links to `lib` and `bin` of the exec directory
//! /tmp/pyshm-<uid>/run-<id>-<pid>/lib, bin
//!                                 stage   symbolic link back to the stage
//!                                 mounts  symbolic link to the name of the mount namespace in which `stage` is valid
//! ```
//!
//! Whether a file may be executed depends on the file system in which the file lies, not on that of a link to the file.
//! So ranks use the names in the stage, which lead to the exec directory. Programs and libraries of the prefixes are
//! loaded from the shared file system.
//!
//! Invariants:
//! - An exec directory is removed with its stage. An exec directory that a crash left is recognised by its link
//!   `stage`: the stage is gone, or has another exec directory.
//! - The builder of a stage keeps the exec directory locked until the stage is published.
//! - A container may share `/tmp` with the node and still have its own `/dev/shm`, in which the link `stage` leads to
//!   another place. So the exec directories of other mount namespaces are left alone.
#![forbid(unsafe_code)]

use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use pyshm_format::layout;

use crate::error::{Error, Result};
use crate::stage::id::StageId;
use crate::stage::lease::Lease;
use crate::stage::limits::space;
use crate::stage::ownership;
use crate::stage::user_dir::UserDir;

/// Roots that exist on every node and lie on the node itself.
const ROOTS: [&str; 2] = ["/tmp", "/var/tmp"];
/// The link that names the mount namespace.
const MOUNTS: &str = "mounts";
/// The start of exec directories' names.
const NAME: &str = "run-";

/// An exec directory whose stage is not published yet.
#[derive(Debug)]
pub(super) struct ExecDir {
    dir: PathBuf,
    _building: Lease,
}

impl ExecDir {
    /// Makes an exec directory for the stage `id` if `user_dir` is mounted `noexec`; otherwise returns `None`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when programs cannot be executed from any of the roots either.
    pub fn needed_for(user_dir: &UserDir, id: &StageId) -> Result<Option<Self>> {
        if !space::is_noexec(user_dir.path()) {
            return Ok(None);
        }
        let made = ROOTS.iter().find_map(|root| Self::create(Path::new(root), user_dir, id));
        made.map(Some).ok_or_else(|| {
            let (root, others) = (user_dir.root().display(), ROOTS.join(" and "));
            Error::Unavailable(format!(
                "{root} is mounted noexec, and {others} cannot be used either: choose another place with --root"
            ))
        })
    }

    fn create(root: &Path, user_dir: &UserDir, id: &StageId) -> Option<Self> {
        let own = if space::is_noexec(root) { None } else { UserDir::open(root).ok() }?;
        let dir = own.path().join(format!("{NAME}{id}-{}", std::process::id()));
        // An earlier process with the same process id may have left this directory.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::DirBuilder::new().mode(0o700).create(&dir).ok()?;
        let building = Lease::building(&dir)?;
        symlink(mount_namespace()?, dir.join(MOUNTS)).ok()?;
        symlink(user_dir.stage_dir(id), dir.join(layout::BACK)).ok()?;
        Some(Self { dir, _building: building })
    }

    /// Makes the links in the directory `stage` that lead to the exec directory.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] names the link that cannot be made.
    pub fn link_from(&self, stage: &Path) -> Result<()> {
        for file in [layout::SHIM, layout::TRAMPOLINE] {
            let name = Path::new(file).parent().unwrap_or(Path::new(file));
            let (to, link) = (self.dir.join(name), stage.join(name));
            let made = std::fs::create_dir_all(&to).and_then(|()| symlink(&to, &link));
            made.map_err(Error::write(&link))?;
        }
        Ok(())
    }
}

/// The kernel's name of this process's mount namespace.
fn mount_namespace() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/ns/mnt").ok()
}

/// The exec directory of the stage in `stage`, published or not.
pub fn exec_dir_of(stage: &Path) -> Option<PathBuf> {
    let lib = std::fs::read_link(stage.join(layout::SHIM).parent()?).ok()?;
    let dir = lib.parent()?;
    dir.file_name()?.to_str()?.starts_with(NAME).then(|| dir.to_path_buf())
}

/// Removes an exec directory, and the user's own directory in which it lies if that directory is now empty.
pub fn remove(exec_dir: &Path) {
    let _ = std::fs::remove_dir_all(exec_dir);
    if let Some(own) = exec_dir.parent() {
        let _ = std::fs::remove_dir(own);
    }
}

/// Removes exec directories that belong to no stage, and returns their paths.
pub(super) fn collect_garbage() -> Vec<PathBuf> {
    let mut removed = Vec::new();
    for root in ROOTS {
        // `UserDir::open` would create the directory.
        let uid = rustix::process::geteuid().as_raw();
        let own = Path::new(root).join(format!("pyshm-{uid}"));
        // Another user may have put a link in this place, which could lead to any directory with such names in it.
        if !matches!(ownership::directory(&own, 0o077), Ok(true)) {
            continue;
        }
        let Ok(entries) = std::fs::read_dir(own) else { continue };
        for dir in entries.flatten().map(|entry| entry.path()) {
            let named =
                dir.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(NAME));
            let stage = std::fs::read_link(dir.join(layout::BACK)).unwrap_or_default();
            let here = std::fs::read_link(dir.join(MOUNTS)).ok() == mount_namespace();
            if !named || !here || exec_dir_of(&stage).as_ref() == Some(&dir) {
                continue;
            }
            if let Some(_building) = Lease::building(&dir) {
                // The stage may have been published since the first check.
                if exec_dir_of(&stage).as_ref() != Some(&dir) {
                    remove(&dir);
                    removed.push(dir);
                }
            }
        }
    }
    removed
}
