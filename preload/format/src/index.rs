//! The index of a stage: one immutable file that answers what lies under the prefixes.
//!
//! ```text
//! 0     magic "PYSHMIX1"
//! 8     version u32, then flags u32 (INCOMPATIBLE bits: a reader that does not know one refuses the file)
//! 16    length of the file u64
//! 24    slots u32 (a power of two), entries u32, prefixes u32, length of "<stage>/fs" u32
//! 40    offsets u64: slots, entries, prefixes, strings; then length of the strings u64
//! 80    the stage's directory: offset u32 and length u32 in the strings
//! 88    zero up to HEADER_BYTES
//! slots      u32 each: the entry's number + 1, 0 is free; open addressing from `hash & (slots - 1)`, step 1
//! entries    ENTRY_BYTES each
//! prefixes   PREFIX_BYTES each
//! strings    each followed by a NUL; an entry's path is the tail of its staged path
//! ```

use crate::{FormatError, hash_path, u32_at, u64_at};

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"PYSHMIX1";
/// The layout's version.
pub const VERSION: u32 = 1;
/// Size of the header.
pub const HEADER_BYTES: usize = 128;
/// Size of an entry.
pub const ENTRY_BYTES: usize = 160;
/// Size of a prefix record.
pub const PREFIX_BYTES: usize = 128;
/// Flag: the stage's file system is mounted `noexec`; exec and dlopen use the original files.
pub const FLAG_NOEXEC: u32 = 1;
/// All flags that this version knows.
const KNOWN_FLAGS: u32 = FLAG_NOEXEC;

/// Entry flag: the data is not in the stage (only a placeholder); reads pass to the shared file system.
pub const ENTRY_REMOTE: u8 = 1;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory; all its entries are in the index.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A socket, fifo or device: known to exist, never staged; it always passes.
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

    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Directory,
            2 => Self::File,
            3 => Self::Symlink,
            _ => Self::Other,
        }
    }
}

/// What a miss under a prefix means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixMode {
    /// The index knows every path: a miss is `ENOENT`.
    Snapshot,
    /// The index knows some paths: a miss passes to the shared file system.
    Overlay,
}

/// Seconds and nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nsec: u32,
}

/// What `lstat` said of the original, with the device number that *this node* has for it.
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
    /// Bytes; for a symbolic link the length of the original target.
    pub size: u64,
    /// 512-byte blocks.
    pub blocks: u64,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Preferred I/O size.
    pub blksize: u32,
    /// Last access.
    pub atime: Time,
    /// Last modification.
    pub mtime: Time,
    /// Last status change.
    pub ctime: Time,
    /// Creation; zero where the file system has none.
    pub btime: Time,
}

/// Everything of an entry but its strings, which stand in the index's string area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// `hash_path` of the original path.
    pub hash: u64,
    /// Offset and length (without NUL) of `<stage>/fs<path>` in the strings.
    pub staged: (u32, u32),
    /// Offset and length of `<stage>/orig<path>`; length 0 where the staged file is pristine itself.
    pub pristine: (u32, u32),
    /// Offset and length of a symbolic link's original target.
    pub target: (u32, u32),
    /// What it is.
    pub kind: Kind,
    /// `ENTRY_…` bits.
    pub flags: u8,
    /// Number of the prefix it belongs to.
    pub prefix: u16,
    /// The original's attributes.
    pub stat: Stat,
}

impl Record {
    /// The record's bytes in the index.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut b = [0; ENTRY_BYTES];
        let mut put = |at: usize, value: &[u8]| b[at..at + value.len()].copy_from_slice(value);
        put(0, &self.hash.to_le_bytes());
        for (at, (off, len)) in [(8, self.staged), (16, self.pristine), (24, self.target)] {
            put(at, &off.to_le_bytes());
            put(at + 4, &len.to_le_bytes());
        }
        put(32, &[self.kind.code(), self.flags]);
        put(34, &self.prefix.to_le_bytes());
        let s = &self.stat;
        for (i, v) in [s.dev, s.ino, s.rdev, s.nlink, s.size, s.blocks].iter().enumerate() {
            put(40 + i * 8, &v.to_le_bytes());
        }
        for (i, v) in [s.mode, s.uid, s.gid, s.blksize].iter().enumerate() {
            put(88 + i * 4, &v.to_le_bytes());
        }
        for (i, t) in [s.atime, s.mtime, s.ctime, s.btime].iter().enumerate() {
            put(104 + i * 8, &t.sec.to_le_bytes());
            put(136 + i * 4, &t.nsec.to_le_bytes());
        }
        b
    }
}

/// A prefix: a directory of the shared file system that the stage stands in for.
#[derive(Debug, Clone, Copy)]
pub struct Prefix<'a> {
    /// A spelling of the prefix: absolute, normalized, without a slash at its end.
    pub path: &'a [u8],
    /// The spelling under which the entries are stored; equal to `path` unless this is an alias.
    pub canonical: &'a [u8],
    /// What a miss means.
    pub mode: PrefixMode,
    /// `statfs` of the prefix on this node when it was staged: type, bsize, blocks, bfree, bavail, files, ffree,
    /// fsid, namelen, frsize, flags; all zero where it was not asked.
    pub statfs: [u64; 11],
}

/// An index in memory. Cheap to copy; made once in a process.
#[derive(Debug, Clone, Copy)]
pub struct Index<'a> {
    bytes: &'a [u8],
    slots: &'a [u8],
    entries: &'a [u8],
    prefixes: &'a [u8],
    strings: &'a [u8],
    fs_len: usize,
    flags: u32,
    stage: (u32, u32),
}

impl<'a> Index<'a> {
    /// Checks the header of `bytes`. Entries are checked when they are looked up.
    ///
    /// # Errors
    /// [`FormatError`] says what is wrong with the file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        if bytes.len() < HEADER_BYTES {
            return Err(FormatError::Truncated);
        }
        if bytes[..8] != MAGIC {
            return Err(FormatError::Magic);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        let flags = u32_at(bytes, 12);
        if flags & !KNOWN_FLAGS != 0 {
            return Err(FormatError::Damaged);
        }
        if u64_at(bytes, 16) != bytes.len() as u64 {
            return Err(FormatError::Truncated);
        }
        let part = |at: usize, len: u64| -> Result<&'a [u8], FormatError> {
            let from = usize::try_from(u64_at(bytes, at)).map_err(|_| FormatError::Damaged)?;
            let len = usize::try_from(len).map_err(|_| FormatError::Damaged)?;
            let to = from.checked_add(len).ok_or(FormatError::Damaged)?;
            bytes.get(from..to).ok_or(FormatError::Damaged)
        };
        let nslots = u32_at(bytes, 24);
        if !nslots.is_power_of_two() {
            return Err(FormatError::Damaged);
        }
        let index = Self {
            bytes,
            slots: part(40, u64::from(nslots) * 4)?,
            entries: part(48, u64::from(u32_at(bytes, 28)) * ENTRY_BYTES as u64)?,
            prefixes: part(56, u64::from(u32_at(bytes, 32)) * PREFIX_BYTES as u64)?,
            strings: part(64, u64_at(bytes, 72))?,
            fs_len: u32_at(bytes, 36) as usize,
            flags,
            stage: (u32_at(bytes, 80), u32_at(bytes, 84)),
        };
        // "<stage>/fs" is the stage's directory and three more bytes.
        if index.stage().len() + 3 != index.fs_len || index.prefixes.is_empty() {
            return Err(FormatError::Damaged);
        }
        Ok(index)
    }

    /// The whole file.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// `FLAG_…` bits.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// The stage's directory (a NUL follows it in the file).
    #[must_use]
    pub fn stage(&self) -> &'a [u8] {
        self.string(self.stage)
    }

    /// Length of `<stage>/fs`: what a staged path has before the original one.
    #[must_use]
    pub fn fs_len(&self) -> usize {
        self.fs_len
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of prefixes, aliases included.
    #[must_use]
    pub fn prefix_count(&self) -> usize {
        self.prefixes.len() / PREFIX_BYTES
    }

    /// The prefix with number `i`.
    #[must_use]
    pub fn prefix(&self, i: usize) -> Option<Prefix<'a>> {
        let at = i.checked_mul(PREFIX_BYTES)?;
        let b = self.prefixes.get(at..at.checked_add(PREFIX_BYTES)?)?;
        let mut statfs = [0; 11];
        for (i, word) in statfs.iter_mut().enumerate() {
            *word = u64_at(b, 24 + i * 8);
        }
        Some(Prefix {
            path: self.string((u32_at(b, 0), u32_at(b, 4))),
            canonical: self.string((u32_at(b, 8), u32_at(b, 12))),
            mode: if u32_at(b, 16) == 1 { PrefixMode::Overlay } else { PrefixMode::Snapshot },
            statfs,
        })
    }

    /// All prefixes, aliases included.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix<'a>> + '_ {
        (0..self.prefix_count()).filter_map(|i| self.prefix(i))
    }

    /// The entry of the original path `path`: absolute, in the prefix's canonical spelling, normalized.
    #[must_use]
    pub fn lookup(&self, path: &[u8]) -> Option<Entry<'a>> {
        let hash = hash_path(path);
        let nslots = self.slots.len() / 4;
        let mut slot = (hash as usize) & (nslots - 1);
        for _ in 0..nslots {
            let number = u32_at(self.slots, slot * 4);
            if number == 0 {
                return None;
            }
            let entry = self.entry(number as usize - 1)?;
            if entry.hash() == hash && entry.path() == path {
                return Some(entry);
            }
            slot = (slot + 1) & (nslots - 1);
        }
        None
    }

    /// The entry with number `number`, 0 to `len() - 1`.
    #[must_use]
    pub fn entry(&self, number: usize) -> Option<Entry<'a>> {
        let at = number.checked_mul(ENTRY_BYTES)?;
        let bytes = self.entries.get(at..at.checked_add(ENTRY_BYTES)?)?;
        Some(Entry { index: *self, bytes })
    }

    /// The number of an entry of this index, as [`entry`](Self::entry) takes it.
    #[must_use]
    pub fn number(&self, entry: &Entry<'_>) -> Option<usize> {
        let at = (entry.bytes.as_ptr() as usize).checked_sub(self.entries.as_ptr() as usize)?;
        (at < self.entries.len()).then_some(at / ENTRY_BYTES)
    }

    /// A string without its NUL; empty where the place is not inside the strings or no NUL follows.
    fn string(&self, (off, len): (u32, u32)) -> &'a [u8] {
        let (off, len) = (off as usize, len as usize);
        match self.strings.get(off..off.saturating_add(len).saturating_add(1)) {
            Some([text @ .., 0]) => text,
            _ => &[],
        }
    }
}

/// One path of the index. Every string it returns is followed by a NUL in the index.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    index: Index<'a>,
    bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    fn text(&self, at: usize) -> &'a [u8] {
        self.index.string((u32_at(self.bytes, at), u32_at(self.bytes, at + 4)))
    }

    /// `hash_path` of the original path.
    #[must_use]
    pub fn hash(&self) -> u64 {
        u64_at(self.bytes, 0)
    }

    /// The original absolute path.
    #[must_use]
    pub fn path(&self) -> &'a [u8] {
        self.staged().get(self.index.fs_len..).unwrap_or(&[])
    }

    /// The staged path, `<stage>/fs` and the original path: what exec and dlopen use.
    #[must_use]
    pub fn staged(&self) -> &'a [u8] {
        self.text(8)
    }

    /// The staged path whose bytes are the original's: what open uses.
    #[must_use]
    pub fn pristine(&self) -> &'a [u8] {
        if u32_at(self.bytes, 20) == 0 { self.staged() } else { self.text(16) }
    }

    /// A symbolic link's original target; empty for anything else.
    #[must_use]
    pub fn target(&self) -> &'a [u8] {
        self.text(24)
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::from_code(self.bytes.get(32).copied().unwrap_or(0))
    }

    /// Whether its data was left out of the stage.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.bytes.get(33).is_some_and(|flags| flags & ENTRY_REMOTE != 0)
    }

    /// Number of the prefix it belongs to.
    #[must_use]
    pub fn prefix(&self) -> usize {
        (u32_at(self.bytes, 32) >> 16) as usize
    }

    /// The original's attributes.
    #[must_use]
    pub fn stat(&self) -> Stat {
        let b = self.bytes;
        let time =
            |i: usize| Time { sec: u64_at(b, 104 + i * 8) as i64, nsec: u32_at(b, 136 + i * 4) };
        Stat {
            dev: u64_at(b, 40),
            ino: u64_at(b, 48),
            rdev: u64_at(b, 56),
            nlink: u64_at(b, 64),
            size: u64_at(b, 72),
            blocks: u64_at(b, 80),
            mode: u32_at(b, 88),
            uid: u32_at(b, 92),
            gid: u32_at(b, 96),
            blksize: u32_at(b, 100),
            atime: time(0),
            mtime: time(1),
            ctime: time(2),
            btime: time(3),
        }
    }
}
