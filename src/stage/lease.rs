//! Leases: a lock on a file of the stage says that someone uses or builds it, and dies with its holder.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pyshm_format::layout;
use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};

/// Held while the stage is in use.
#[derive(Debug)]
pub struct Lease {
    _locked: File,
}

impl Lease {
    /// One of many users.
    pub(super) fn shared(dir: &Path) -> Result<Self> {
        let path = dir.join(layout::LEASE);
        let file = File::open(&path).map_err(Error::read("stage", &path))?;
        flock(&file, FlockOperation::NonBlockingLockShared).map_err(|_| {
            Error::TryAgain(format!("the stage {} is being removed: try again", dir.display()))
        })?;
        Ok(Self { _locked: file })
    }

    /// The only one, or `None` while there are others.
    pub(super) fn exclusive(dir: &Path) -> Option<Self> {
        Self::lock_alone(&dir.join(layout::LEASE))
    }

    /// The right to build in `dir`, or `None` while its builder lives. It locks the directory itself, so that users'
    /// leases can begin before the builder is done.
    pub(super) fn building(dir: &Path) -> Option<Self> {
        Self::lock_alone(dir)
    }

    /// Makes the file that users lock.
    pub(super) fn create(dir: &Path) -> Result<()> {
        let path = dir.join(layout::LEASE);
        File::create(&path).map(drop).map_err(Error::write(&path))
    }

    fn lock_alone(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { _locked: file })
    }
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
