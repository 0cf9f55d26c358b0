//! Defines an entry of the index and its bytes.

use crate::hash::check;
use crate::{u32_at, u64_at};

/// Size of an entry in bytes.
pub const ENTRY_BYTES: usize = 160;
/// Offset of an entry's check, which covers all bytes before it.
pub(crate) const ENTRY_CHECK: usize = 152;

/// Entry flag: the stage has only a placeholder without the data, so reads pass to the shared file system.
pub const ENTRY_REMOTE: u8 = 1;
/// Entry flag: an access control list, not only the mode bits, decides who may access the file.
pub const ENTRY_ACL: u8 = 2;
/// Entry flag: the file under `fs/` was edited, and the original's bytes are under `orig/`.
pub const ENTRY_EDITED: u8 = 4;

/// Kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory. The index has all names in the directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A socket, FIFO or device, which is never staged. Opening it passes to the shared file system.
    Other,
}

impl Kind {
    /// The byte that stands for the kind in an entry.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Directory => 1,
            Self::File => 2,
            Self::Symlink => 3,
            Self::Other => 4,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Directory,
            2 => Self::File,
            3 => Self::Symlink,
            _ => Self::Other,
        }
    }
}

/// Seconds and nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nsec: u32,
}

/// The original's attributes by `lstat`, with the device number that *this node* has for the original's file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stat {
    /// Device on this node (`st_dev`).
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Device that a device node stands for.
    pub rdev: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// Size in bytes; for a symbolic link the length of the original target.
    pub size: u64,
    /// Number of 512-byte blocks.
    pub blocks: u64,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Time,
    /// Last modification.
    pub mtime: Time,
    /// Last status change.
    pub ctime: Time,
    /// Creation; zero if the file system does not record it.
    pub btime: Time,
}

impl Stat {
    /// Reads the attributes that [`Record::to_bytes`] wrote.
    #[inline]
    pub(crate) fn from_entry(b: &[u8; ENTRY_BYTES]) -> Self {
        let time =
            |i: usize| Time { sec: u64_at(b, 96 + i * 8) as i64, nsec: u32_at(b, 128 + i * 4) };
        Self {
            dev: u64_at(b, 32),
            ino: u64_at(b, 40),
            rdev: u64_at(b, 48),
            nlink: u64_at(b, 56),
            size: u64_at(b, 64),
            blocks: u64_at(b, 72),
            mode: u32_at(b, 80),
            uid: u32_at(b, 84),
            gid: u32_at(b, 88),
            blksize: u32_at(b, 92),
            atime: time(0),
            mtime: time(1),
            ctime: time(2),
            btime: time(3),
        }
    }
}

/// All fields of an entry. Its strings are in the index's string area.
///
/// ```text
/// 0    hash of the path u64
/// 8    offsets in the strings, u32 each: staged path, pristine path, target, extended attributes
/// 24   lengths, u16 each: staged path, target
/// 28   kind u8, flags u8, number of the prefix u16
/// 32   the original's attributes
/// 144  number of the bundle u16, then zero
/// 152  check u64
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// `hash_path` of the original path.
    pub hash: u64,
    /// Offset and length (without NUL) of `<stage>/fs<path>` in the strings.
    pub staged: (u32, u16),
    /// Offset of `<stage>/orig<path>`; 0 without [`ENTRY_EDITED`].
    pub pristine: u32,
    /// Offset and length of a symbolic link's original target. The target's check is in the 8 bytes before the target.
    pub target: (u32, u16),
    /// Offset of the recorded extended attributes; 0 if none were recorded.
    pub xattrs: u32,
    /// The kind of the path.
    pub kind: Kind,
    /// `ENTRY_…` bits.
    pub flags: u8,
    /// Number of the prefix that the path belongs to.
    pub prefix: u16,
    /// Number of the bundle that the path came from.
    pub bundle: u16,
    /// The original's attributes.
    pub stat: Stat,
}

impl Record {
    /// The record's bytes at `place` in the index with this `seed`.
    #[must_use]
    pub fn to_bytes(&self, seed: u64, place: usize) -> [u8; ENTRY_BYTES] {
        let mut b = [0; ENTRY_BYTES];
        let mut put = |at: usize, value: &[u8]| b[at..at + value.len()].copy_from_slice(value);
        put(0, &self.hash.to_le_bytes());
        let offsets = [self.staged.0, self.pristine, self.target.0, self.xattrs];
        for (i, v) in offsets.iter().enumerate() {
            put(8 + i * 4, &v.to_le_bytes());
        }
        put(24, &self.staged.1.to_le_bytes());
        put(26, &self.target.1.to_le_bytes());
        put(28, &[self.kind.code(), self.flags]);
        put(30, &self.prefix.to_le_bytes());
        let s = &self.stat;
        for (i, v) in [s.dev, s.ino, s.rdev, s.nlink, s.size, s.blocks].iter().enumerate() {
            put(32 + i * 8, &v.to_le_bytes());
        }
        for (i, v) in [s.mode, s.uid, s.gid, s.blksize].iter().enumerate() {
            put(80 + i * 4, &v.to_le_bytes());
        }
        for (i, t) in [s.atime, s.mtime, s.ctime, s.btime].iter().enumerate() {
            put(96 + i * 8, &t.sec.to_le_bytes());
            put(128 + i * 4, &t.nsec.to_le_bytes());
        }
        put(144, &self.bundle.to_le_bytes());
        let proof = check(seed, place, &b[..ENTRY_CHECK]);
        b[ENTRY_CHECK..].copy_from_slice(&proof.to_le_bytes());
        b
    }
}
