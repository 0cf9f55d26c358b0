//! Walks a prefix and yields every path with its `lstat`, parents before children, siblings by name.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::manifest::entry::EntryStat;

/// A path that the walk found.
pub struct WalkEntry {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its `lstat`.
    pub stat: EntryStat,
    /// Its file type.
    pub kind: std::fs::FileType,
}

/// Walks everything at and below `prefix`.
pub fn walk(prefix: &Path) -> impl Iterator<Item = Result<WalkEntry>> + use<> {
    let prefix = prefix.to_path_buf();
    walkdir::WalkDir::new(&prefix).sort_by_file_name().into_iter().map(move |found| {
        let failed = |e: walkdir::Error| {
            let path = e.path().unwrap_or(&prefix).to_path_buf();
            let cause =
                e.into_io_error().unwrap_or_else(|| io::Error::other("symbolic links form a loop"));
            Error::NoInput { what: "prefix", path, cause }
        };
        let found = found.map_err(failed)?;
        let stat = stat(&found.metadata().map_err(failed)?);
        Ok(WalkEntry { stat, kind: found.file_type(), path: found.into_path() })
    })
}

/// Converts the result of `lstat` or `fstat` to what a manifest records.
pub fn stat(m: &std::fs::Metadata) -> EntryStat {
    EntryStat {
        dev: m.dev(),
        ino: m.ino(),
        nlink: m.nlink(),
        mode: m.mode(),
        uid: m.uid(),
        gid: m.gid(),
        rdev: m.rdev(),
        size: m.size(),
        blksize: m.blksize() as u32,
        blocks: m.blocks(),
        atime: (m.atime(), m.atime_nsec() as u32),
        mtime: (m.mtime(), m.mtime_nsec() as u32),
        ctime: (m.ctime(), m.ctime_nsec() as u32),
        btime: created(m).unwrap_or_default(),
    }
}

/// Creation time in seconds and nanoseconds, where the file system records it.
fn created(m: &std::fs::Metadata) -> Option<(i64, u32)> {
    let since = m.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((since.as_secs() as i64, since.subsec_nanos()))
}
