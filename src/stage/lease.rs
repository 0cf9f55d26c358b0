//! Takes leases: locks on a stage that say that a process uses or builds it. A lease dies with its process.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pyshm_format::layout;
use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};
use crate::stage::ownership;

/// A lock on a stage, released when this is dropped.
#[derive(Debug)]
pub struct Lease {
    _locked: File,
}

impl Lease {
    /// Locks the stage in `dir` as one of its users.
    ///
    /// # Errors
    /// [`Error::NoInput`] when there is no stage, [`Error::TryAgain`] when the stage is being removed.
    pub(super) fn shared(dir: &Path) -> Result<Self> {
        let path = dir.join(layout::LEASE);
        let file = ownership::open(&path).map_err(Error::read("stage", &path))?;
        let removed =
            || Error::TryAgain(format!("the stage {} is being removed: try again", dir.display()));
        lock(file, FlockOperation::NonBlockingLockShared).ok_or_else(removed)
    }

    /// Locks the stage in `dir` against all users; `None` while the stage has a user. A stage is removed only under
    /// this lease.
    pub(crate) fn exclusive(dir: &Path) -> Option<Self> {
        lock(
            ownership::open(&dir.join(layout::LEASE)).ok()?,
            FlockOperation::NonBlockingLockExclusive,
        )
    }

    /// Locks the directory `dir` for building a stage in it; `None` while another builder has it locked. The lock is on
    /// the directory itself, so that users can take leases before the builder is done.
    pub(super) fn building(dir: &Path) -> Option<Self> {
        lock(ownership::open_directory(dir).ok()?, FlockOperation::NonBlockingLockExclusive)
    }

    /// Creates the file in `dir` that users lock.
    ///
    /// # Errors
    /// [`Error::CannotWrite`].
    pub(super) fn create_file(dir: &Path) -> Result<()> {
        let path = dir.join(layout::LEASE);
        File::create(&path).map(drop).map_err(Error::write(&path))
    }
}

/// Locks a file; `None` if other processes have the file locked, or if the file was removed meanwhile and so belongs to
/// no stage.
fn lock(file: File, how: FlockOperation) -> Option<Lease> {
    flock(&file, how).ok()?;
    (file.metadata().ok()?.nlink() > 0).then_some(Lease { _locked: file })
}

/// Whether a process that this user may inspect has the index of the stage in `dir` mapped.
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
