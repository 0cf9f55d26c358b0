//! Where shim and trampoline lie when the stage's own file system is mounted `noexec`: below another node-local root.
//!
//! ```text
//! /dev/shm/pyshm-<uid>/<id>/lib, bin      symbolic links to those below
//! /tmp/pyshm-<uid>/run-<id>-<pid>/lib, bin
//!                                 stage   symbolic link back
//!                                 mounts  symbolic link to the name of the mount namespace in which that leads there
//! ```
//!
//! The kernel asks the file system of the file itself whether it may be executed, so that all names stay those of the
//! stage. Files of the prefixes are then executed and mapped executable from the shared file system.
//!
//! What must stay true: such a directory goes with its stage. What a crash leaves is known by the link back: the stage
//! is not there, or has another directory. Its builder holds a lock on it until the stage is published. Where others
//! have mounted another `/dev/shm`, as in a container, and see the same `/tmp`, they cannot know and leave it alone.
#![forbid(unsafe_code)]

use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use pyshm_format::layout;

use crate::error::{Error, Result};
use crate::stage::lease::Lease;
use crate::stage::limits::space;
use crate::stage::{Place, StageId, ownership};

/// Where it is tried: what exists on every node and lies on the node itself.
const ROOTS: [&str; 2] = ["/tmp", "/var/tmp"];
/// The link that names the mount namespace.
const MOUNTS: &str = "mounts";
/// What the directories' names begin with.
const NAME: &str = "run-";

/// A directory that is being made.
#[derive(Debug)]
pub(super) struct Elsewhere {
    dir: PathBuf,
    _building: Lease,
}

impl Elsewhere {
    /// Makes one for the stage that will be `place`'s `id`, if `place` is mounted `noexec`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when nothing may be executed in any of the roots.
    pub fn needed_for(place: &Place, id: &StageId) -> Result<Option<Self>> {
        if !space::is_noexec(place.dir()) {
            return Ok(None);
        }
        ROOTS.iter().find_map(|root| Self::create(Path::new(root), place, id)).map(Some).ok_or_else(
            || {
                let (root, others) = (place.root().display(), ROOTS.join(" and "));
                Error::Unavailable(format!(
                    "{root} is mounted noexec, and {others} cannot be used either: choose another place with --root"
                ))
            },
        )
    }

    fn create(root: &Path, place: &Place, id: &StageId) -> Option<Self> {
        // Opening a place makes it.
        let own = if space::is_noexec(root) { None } else { Place::open(root).ok() }?;
        let dir = own.dir().join(format!("{NAME}{id}-{}", std::process::id()));
        // Left by a process of the same number.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::DirBuilder::new().mode(0o700).create(&dir).ok()?;
        let building = Lease::building(&dir)?;
        symlink(mounts()?, dir.join(MOUNTS)).ok()?;
        symlink(place.stage_dir(id), dir.join(layout::BACK)).ok()?;
        Some(Self { dir, _building: building })
    }

    /// Lets the links in a stage lead here.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] when one cannot be made.
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

/// The name of this process's mount namespace.
fn mounts() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/ns/mnt").ok()
}

/// The directory that a stage, finished or not, has elsewhere.
pub fn of(stage: &Path) -> Option<PathBuf> {
    let lib = std::fs::read_link(stage.join(layout::SHIM).parent()?).ok()?;
    let dir = lib.parent()?;
    dir.file_name()?.to_str()?.starts_with(NAME).then(|| dir.to_path_buf())
}

/// Removes such a directory, and the user's own where it was the last thing there.
pub fn remove(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
    if let Some(own) = dir.parent() {
        let _ = std::fs::remove_dir(own);
    }
}

/// Removes what no stage has; what was removed.
pub(super) fn collect_garbage() -> Vec<PathBuf> {
    let mut removed = Vec::new();
    for root in ROOTS {
        // Not opened as a place: that would make it.
        let uid = rustix::process::geteuid().as_raw();
        let own = Path::new(root).join(format!("pyshm-{uid}"));
        // Another user's link would lead to what only has such names.
        if !matches!(ownership::directory(&own, 0o077), Ok(true)) {
            continue;
        }
        let Ok(entries) = std::fs::read_dir(own) else { continue };
        for dir in entries.flatten().map(|entry| entry.path()) {
            let named =
                dir.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(NAME));
            let stage = std::fs::read_link(dir.join(layout::BACK)).unwrap_or_default();
            let here = std::fs::read_link(dir.join(MOUNTS)).ok() == mounts();
            if !named || !here || of(&stage).as_ref() == Some(&dir) {
                continue;
            }
            if let Some(_held) = Lease::building(&dir) {
                // It may have been published since.
                if of(&stage).as_ref() != Some(&dir) {
                    remove(&dir);
                    removed.push(dir);
                }
            }
        }
    }
    removed
}
