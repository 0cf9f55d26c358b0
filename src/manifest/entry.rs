//! An entry of a manifest: one path of a bundle, what it is, and its `lstat`.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The longest path that Linux takes, with its NUL.
pub const PATH_MAX: usize = 4096;

/// The longest name that Linux takes.
const NAME_MAX: usize = 255;

/// One path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryRecord {
    /// Absolute original path.
    pub path: ByteBuf,
    /// What it is, and where its data stands.
    pub kind: EntryKind,
    /// What `lstat` said.
    pub stat: EntryStat,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Where its data starts in the tar stream behind the manifest's frame.
        offset: u64,
        /// blake3 of the data.
        digest: [u8; 32],
        /// `RPATH` or `RUNPATH` of an ELF file that has an absolute element.
        runpath: Option<ByteBuf>,
    },
    /// A regular file whose data is not in the bundle: reads pass to the shared file system.
    Remote,
    /// Another name of the file with this number.
    HardLink(u32),
    /// A symbolic link and its original target.
    Symlink(ByteBuf),
    /// A socket, fifo or device: known, not staged.
    Other,
    /// A regular file of a layer whose data is what lies below it under the same path.
    Below,
}

/// `lstat` of the original. Times are seconds and nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryStat {
    /// Device where it was packed.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Hard links.
    pub nlink: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device that a device node stands for.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Preferred I/O size.
    pub blksize: u32,
    /// 512-byte blocks.
    pub blocks: u64,
    /// Last access.
    pub atime: (i64, u32),
    /// Last modification.
    pub mtime: (i64, u32),
    /// Last status change.
    pub ctime: (i64, u32),
    /// Creation; zero where the file system has none.
    pub btime: (i64, u32),
}

impl EntryRecord {
    /// The path for file operations.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

/// Whether nothing that matters changed between two looks at a path.
pub(crate) fn same(a: &EntryStat, b: &EntryStat) -> bool {
    let of = |s: &EntryStat| (s.ino, s.mode, s.size, s.mtime, s.ctime, s.uid, s.gid);
    of(a) == of(b)
}

/// Refuses what is not an absolute, normalized path that the kernel would take.
pub(crate) fn check_path(path: &[u8]) -> Result<(), String> {
    let shown = || crate::text::shown(path);
    let Some(rest) = path.strip_prefix(b"/") else {
        return Err(format!("entry {} is not an absolute path", shown()));
    };
    if path.len() >= PATH_MAX || path.contains(&0) {
        return Err(format!("entry {} is no possible path", shown()));
    }
    if rest.split(|b| *b == b'/').any(|part| part.len() > NAME_MAX) {
        return Err(format!("entry {} has a part of more than {NAME_MAX} bytes", shown()));
    }
    match rest.split(|b| *b == b'/').find(|c| matches!(*c, b"" | b"." | b"..")) {
        Some(part) => {
            Err(format!("entry {} has '{}' as a part", shown(), String::from_utf8_lossy(part)))
        }
        None => Ok(()),
    }
}
