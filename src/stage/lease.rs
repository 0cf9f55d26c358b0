//! Leases: a lock on a file of the stage says that someone uses or builds it, and dies with its holder.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pyshm_format::layout;
use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};
use crate::stage::ownership;

/// Held while the stage is in use.
#[derive(Debug)]
pub struct Lease {
    _locked: File,
}

impl Lease {
    /// One of many users.
    pub(super) fn shared(dir: &Path) -> Result<Self> {
        let path = dir.join(layout::LEASE);
        let file = ownership::open(&path).map_err(Error::read("stage", &path))?;
        let removed =
            || Error::TryAgain(format!("the stage {} is being removed: try again", dir.display()));
        lock(file, FlockOperation::NonBlockingLockShared).ok_or_else(removed)
    }

    /// The only one, or `None` while there are others. Who holds it may remove the stage.
    pub(crate) fn exclusive(dir: &Path) -> Option<Self> {
        lock(
            ownership::open(&dir.join(layout::LEASE)).ok()?,
            FlockOperation::NonBlockingLockExclusive,
        )
    }

    /// The right to build in `dir`, or `None` while its builder lives. It locks the directory itself, so that users'
    /// leases can begin before the builder is done.
    pub(super) fn building(dir: &Path) -> Option<Self> {
        lock(ownership::open_directory(dir).ok()?, FlockOperation::NonBlockingLockExclusive)
    }

    /// Makes the file that users lock.
    pub(super) fn create(dir: &Path) -> Result<()> {
        let path = dir.join(layout::LEASE);
        File::create(&path).map(drop).map_err(Error::write(&path))
    }
}

/// A lock on a file that still has a name: one that was removed meanwhile belongs to no stage.
fn lock(file: File, how: FlockOperation) -> Option<Lease> {
    flock(&file, how).ok()?;
    (file.metadata().ok()?.nlink() > 0).then_some(Lease { _locked: file })
}

/// Whether a process that this user may look at has the stage's index mapped.
pub(super) fn is_mapped(dir: &Path) -> bool {
    let index = dir.join(layout::INDEX);
    let index = index.as_os_str().as_bytes();
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let name = process.file_name();
        let is_process = name.as_bytes().iter().all(u8::is_ascii_digit);
        is_process
            && std::fs::read(process.path().join("maps"))
                .is_ok_and(|maps| maps.windows(index.len()).any(|w| w == index))
    })
}
