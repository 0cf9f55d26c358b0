//! Whether a stage fits, asked before its first byte is written.
#![forbid(unsafe_code)]

use std::path::Path;

use crate::error::{Error, Result};

/// Left free for MPI's own segments in `/dev/shm` and for the application, in bytes.
const RESERVE: u64 = 64 << 20;
/// What an entry costs beside its data: inode, directory entry, index record.
const PER_ENTRY: u64 = 1024;

/// Checks that `bytes` of files in `entries` paths fit into the file system of `root`.
///
/// # Errors
/// [`Error::NoSpace`] with both numbers.
pub fn check(root: &Path, bytes: u64, entries: u64) -> Result<()> {
    let fs = rustix::fs::statvfs(root).map_err(|e| Error::write(root)(e.into()))?;
    let free = fs.f_bavail.saturating_mul(fs.f_frsize);
    let needed = bytes + entries * PER_ENTRY + RESERVE;
    let inodes = fs.f_favail;
    // A file system that does not count inodes says 0 of 0.
    if free < needed || (fs.f_files > 0 && inodes < entries) {
        return Err(Error::NoSpace { path: root.to_path_buf(), free, needed });
    }
    Ok(())
}

/// Whether programs and libraries cannot be started from the file system of `dir`.
pub fn is_noexec(dir: &Path) -> bool {
    rustix::fs::statvfs(dir)
        .is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}
