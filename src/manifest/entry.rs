//! Defines an entry of a manifest: one path of a bundle with its kind and its `lstat`.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The longest path that Linux accepts, in bytes with the final NUL.
pub const PATH_MAX: usize = 4096;

/// The longest file name that Linux accepts, in bytes.
const NAME_MAX: usize = 255;

/// One path of a bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryRecord {
    /// Absolute original path.
    pub path: ByteBuf,
    /// Its kind, and where its data lies.
    pub kind: EntryKind,
    /// Its `lstat`.
    pub stat: EntryStat,
}

/// What an entry is, and where its data lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Where its data starts in the tar stream that follows the manifest's frame.
        offset: u64,
        /// blake3 of the data.
        digest: [u8; 32],
        /// `RPATH` or `RUNPATH` of an ELF file, if one of its elements is absolute.
        runpath: Option<ByteBuf>,
    },
    /// A regular file whose data is not in the bundle: reads go to the shared file system.
    Remote,
    /// An additional name of a file; the number is that of the file's entry.
    HardLink(u32),
    /// A symbolic link with its original target.
    Symlink(ByteBuf),
    /// A socket, fifo or device: recorded, not staged.
    Other,
    /// A regular file whose attributes the layer changes, but not its data. The bundles below have the data, under the
    /// same path.
    Below,
}

/// The original's `lstat`. Times are seconds and nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryStat {
    /// Device number on the node that packed the path.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device that a device node represents.
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Allocated blocks of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: (i64, u32),
    /// Last modification.
    pub mtime: (i64, u32),
    /// Last status change.
    pub ctime: (i64, u32),
    /// Creation; zero where the file system does not record it.
    pub btime: (i64, u32),
}

impl EntryRecord {
    /// The entry's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

impl EntryStat {
    /// Whether `now`, a later `lstat` of the same path, shows no change.
    #[must_use]
    pub fn is_unchanged(&self, now: &Self) -> bool {
        let of = |s: &Self| (s.ino, s.mode, s.size, s.mtime, s.ctime, s.uid, s.gid);
        of(self) == of(now)
    }
}

/// Why an entry cannot have a path; completes "entry PATH …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// It does not begin with a slash.
    #[error("is not an absolute path")]
    Relative,
    /// It is longer than Linux allows, or has a NUL.
    #[error("is not a possible path")]
    Impossible,
    /// One of its parts is longer than Linux allows.
    #[error("has a part of more than {NAME_MAX} bytes")]
    LongPart,
    /// One of its parts is empty, "." or "..".
    #[error("has '{}' as a part", String::from_utf8_lossy(.0))]
    NotNormalized(Vec<u8>),
}

/// Checks that `path` is an absolute, normalized path that the kernel would accept.
pub(crate) fn check_path(path: &[u8]) -> Result<(), PathProblem> {
    let rest = path.strip_prefix(b"/").ok_or(PathProblem::Relative)?;
    if path.len() >= PATH_MAX || path.contains(&0) {
        return Err(PathProblem::Impossible);
    }
    let mut parts = rest.split(|b| *b == b'/');
    if parts.clone().any(|part| part.len() > NAME_MAX) {
        return Err(PathProblem::LongPart);
    }
    match parts.find(|part| matches!(*part, b"" | b"." | b"..")) {
        Some(part) => Err(PathProblem::NotNormalized(part.to_vec())),
        None => Ok(()),
    }
}
