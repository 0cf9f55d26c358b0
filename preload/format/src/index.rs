//! Reads the index of a stage: one immutable file that has an entry for every path under the prefixes.
//!
//! ```text
//! 0     magic "PYSHMIX1"
//! 8     version u32, then flags u32 (a reader refuses the file if it does not know one of the bits)
//! 16    length of the file u64
//! 24    buckets u32 (a power of two), entries u32, prefixes u32, length of the head u32
//! 40    offsets u64: buckets, entries, strings; then length of the strings u64
//! 72    seed u64: a digest of the content, so that the checks of another index's parts are wrong here
//! 80    "<stage>/fs" and "<stage>/orig": offset u32 and length u32 in the head, each
//! 96    zero
//! 120   check u64 of the whole head except these eight bytes
//! 128   prefixes, PREFIX_BYTES each, and their strings: the end of the head. Zeros follow, up to a multiple of 64 KiB
//! buckets    BUCKET_BYTES each: check u64, then BUCKET_SLOTS times a tag u32 and an entry's number + 1 u32 (0 is
//!            free). The search starts at `hash & (buckets - 1)` and goes on to the next bucket if no slot is free
//! entries    ENTRY_BYTES each (see Record), sorted by device and inode, so that all names of a file are together
//! strings    each followed by a NUL. An entry's path is the tail of its staged path. Targets of symbolic links and
//!            extended attributes have a check u64 before them
//! ```
//!
//! The first 128 bytes are the **header**. The **head** is the header, the prefixes and their strings.
//!
//! **Every byte is verified before it is used**, and only bytes that are looked up are verified, so that a starting
//! process does not read the whole file. [`Index::parse`] verifies the head once. [`Index::find`] verifies a bucket
//! before it reports an *absence*, because a damaged bucket, tag or number could hide an entry. `find` verifies an
//! entry and a link's target by their checks. It compares the entry's path with the wanted path. It also compares the
//! start of the staged path with the directory in the head. If one of these steps fails, the result is
//! [`Lookup::Damaged`], and nothing is known about the path.

use crate::entry::Entry;
use crate::hash::check;
use crate::record::{ENTRY_BYTES, ENTRY_CHECK, ENTRY_EDITED, Kind};
use crate::strings::{proven_text, string};
use crate::{FormatError, hash_path, u32_at, u64_at};

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"PYSHMIX1";
/// The layout's version.
pub const VERSION: u32 = 5;
/// Size of the header in bytes.
pub const HEADER_BYTES: usize = 128;
/// Offset of the head's check, which lies in the header.
pub(crate) const HEADER_CHECK: usize = 120;
/// Size of a prefix record in bytes.
pub const PREFIX_BYTES: usize = 128;
/// Size of a bucket in bytes: a cache line.
pub const BUCKET_BYTES: usize = 64;
/// Number of entries that fit into a bucket.
pub const BUCKET_SLOTS: usize = 7;
/// Flag: the stage's file system is mounted `noexec`, so exec and dlopen use the original files.
pub const FLAG_NOEXEC: u32 = 1;
/// All flags that this version knows.
const KNOWN_FLAGS: u32 = FLAG_NOEXEC;

/// The meaning of a path under the prefix if the index does not have the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixMode {
    /// The index has every path, so the path does not exist (ENOENT).
    Snapshot,
    /// The index has only some paths, so the path passes to the shared file system.
    Overlay,
}

/// A prefix: a directory of the shared file system that the stage stands in for.
#[derive(Debug, Clone, Copy)]
pub struct Prefix<'a> {
    /// A spelling of the prefix: absolute, normalized, without a slash at the end.
    pub path: &'a [u8],
    /// The spelling under which the entries are stored; equal to `path` unless `path` is an alias.
    pub canonical: &'a [u8],
    /// The meaning of a path that the index does not have.
    pub mode: PrefixMode,
    /// `statfs` of the prefix on this node when the prefix was staged: type, bsize, blocks, bfree, bavail, files,
    /// ffree, fsid, namelen, frsize, flags; all zero if none was recorded.
    pub statfs: [u64; 11],
}

/// The result of a look-up.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'a> {
    /// The path has this entry.
    Found(Entry<'a>),
    /// The path certainly has no entry.
    Absent,
    /// A part of the index that is needed for the answer is damaged, so nothing is known about the path.
    Damaged,
}

impl<'a> Lookup<'a> {
    /// The entry, if the path certainly has one.
    #[must_use]
    #[inline]
    pub fn found(self) -> Option<Entry<'a>> {
        match self {
            Self::Found(entry) => Some(entry),
            Self::Absent | Self::Damaged => None,
        }
    }
}

/// An index in memory. A process parses the index once. The value is cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Index<'a> {
    head: &'a [u8],
    buckets: &'a [[u8; BUCKET_BYTES]],
    entries: &'a [[u8; ENTRY_BYTES]],
    strings: &'a [u8],
    buckets_at: usize,
    entries_at: usize,
    seed: u64,
    /// "<stage>/fs" and "<stage>/orig".
    fs: &'a [u8],
    orig: &'a [u8],
}

impl<'a> Index<'a> {
    /// Checks the head of `bytes`. Entries are checked when they are looked up.
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
        if u64_at(bytes, 16) != bytes.len() as u64 {
            return Err(FormatError::Truncated);
        }
        let damaged = FormatError::Damaged;
        let part = |from: u64, len: u64| -> Result<&'a [u8], FormatError> {
            let from = usize::try_from(from).map_err(|_| damaged)?;
            let to = usize::try_from(len).ok().and_then(|len| from.checked_add(len));
            bytes.get(from..to.ok_or(damaged)?).ok_or(damaged)
        };
        let head = part(0, u32_at(bytes, 36).into())?;
        let (header, rest) = head.split_at_checked(HEADER_BYTES).ok_or(damaged)?;
        if check(check(0, 0, &header[..HEADER_CHECK]), 0, rest) != u64_at(header, HEADER_CHECK) {
            return Err(damaged);
        }
        // The head is verified. The following checks only guard against a bad builder.
        let nbuckets = u32_at(bytes, 24);
        let nprefixes = u32_at(bytes, 32) as usize;
        if u32_at(bytes, 12) & !KNOWN_FLAGS != 0
            || !nbuckets.is_power_of_two()
            || nprefixes == 0
            || nprefixes > rest.len() / PREFIX_BYTES
        {
            return Err(damaged);
        }
        let buckets = part(u64_at(bytes, 40), u64::from(nbuckets) * BUCKET_BYTES as u64)?;
        let entries = part(u64_at(bytes, 48), u64::from(u32_at(bytes, 28)) * ENTRY_BYTES as u64)?;
        Ok(Self {
            head,
            buckets: buckets.as_chunks().0,
            entries: entries.as_chunks().0,
            strings: part(u64_at(bytes, 56), u64_at(bytes, 64))?,
            buckets_at: u64_at(bytes, 40) as usize,
            entries_at: u64_at(bytes, 48) as usize,
            seed: u64_at(bytes, 72),
            fs: head_string(head, 80).filter(|fs| fs.ends_with(b"/fs")).ok_or(damaged)?,
            orig: head_string(head, 88).ok_or(damaged)?,
        })
    }

    /// `FLAG_…` bits.
    #[must_use]
    pub fn flags(&self) -> u32 {
        u32_at(self.head, 12)
    }

    /// The stage's directory.
    #[must_use]
    pub fn stage(&self) -> &'a [u8] {
        self.fs.strip_suffix(b"/fs").unwrap_or(&[])
    }

    /// Length in bytes of `<stage>/fs`, which precedes the original path in a staged path.
    #[must_use]
    pub fn fs_len(&self) -> usize {
        self.fs.len()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of prefixes, with aliases.
    #[must_use]
    #[inline]
    pub fn prefix_count(&self) -> usize {
        u32_at(self.head, 32) as usize
    }

    /// The prefix with number `i`.
    #[must_use]
    pub fn prefix(&self, i: usize) -> Option<Prefix<'a>> {
        if i >= self.prefix_count() {
            return None;
        }
        let at = HEADER_BYTES.checked_add(i.checked_mul(PREFIX_BYTES)?)?;
        let b = self.head.get(at..at.checked_add(PREFIX_BYTES)?)?;
        let mut statfs = [0; 11];
        for (i, word) in statfs.iter_mut().enumerate() {
            *word = u64_at(b, 24 + i * 8);
        }
        Some(Prefix {
            path: head_string(self.head, at)?,
            canonical: head_string(self.head, at + 8)?,
            mode: if u32_at(b, 16) == 1 { PrefixMode::Overlay } else { PrefixMode::Snapshot },
            statfs,
        })
    }

    /// All prefixes, with aliases.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix<'a>> + '_ {
        (0..self.prefix_count()).filter_map(|i| self.prefix(i))
    }

    /// Looks up an original path: absolute, in its prefix's canonical spelling, normalized.
    // The function is not inlined, because it must be fast and the shim, its caller, is compiled for size.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Lookup<'a> {
        let hash = hash_path(path);
        let mask = self.buckets.len().wrapping_sub(1);
        let mut number = hash as usize & mask;
        for _ in 0..self.buckets.len() {
            let Some(bucket) = self.buckets.get(number) else { return Lookup::Damaged };
            let place = self.buckets_at + number * BUCKET_BYTES;
            let mut full = true;
            for slot in bucket[8..].as_chunks::<8>().0 {
                let entry = u32_at(slot, 4);
                if entry == 0 {
                    full = false;
                    break;
                }
                if u32_at(slot, 0) == (hash >> 32) as u32 {
                    match self.candidate(entry as usize - 1, hash, path) {
                        Lookup::Absent => {}
                        known => return known,
                    }
                }
            }
            // An entry has a check of its own, so only an absence needs the bucket's check.
            if check(self.seed, place, &bucket[8..]) != u64_at(bucket, 0) {
                return Lookup::Damaged;
            }
            if !full {
                return Lookup::Absent;
            }
            number = (number + 1) & mask;
        }
        Lookup::Absent
    }

    /// The numbers of all entries with this inode, for [`entry`](Self::entry). A directory has one entry, and a file
    /// has one for each of its names. `None` if the search meets a damaged entry, so that nothing is known.
    #[must_use]
    pub fn of_inode(&self, dev: u64, ino: u64) -> Option<core::ops::Range<usize>> {
        let first = self.first_at(0, (dev, ino))?;
        let behind = match ino.checked_add(1) {
            Some(next) => Some((dev, next)),
            None => dev.checked_add(1).map(|dev| (dev, 0)),
        };
        let end = behind.map_or(Some(self.entries.len()), |behind| self.first_at(first, behind))?;
        Some(first..end)
    }

    /// The number of the first entry, from entry `start` on, whose device and inode are equal to `wanted` or greater.
    /// `None` if the search meets a damaged entry.
    fn first_at(&self, start: usize, wanted: (u64, u64)) -> Option<usize> {
        let (mut low, mut high) = (start, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.proven(middle)?.inode() < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(low)
    }

    /// The entry `number` if it belongs to `path`; [`Lookup::Absent`] if it belongs to another path.
    #[inline]
    fn candidate(&self, number: usize, hash: u64, path: &[u8]) -> Lookup<'a> {
        let Some(entry) = self.proven(number) else { return Lookup::Damaged };
        if entry.hash() != hash {
            return Lookup::Absent;
        }
        // The entry has the path's hash. So if the entry's own path differs, the entry's texts are damaged.
        if self.texts(&entry, path) { Lookup::Found(entry) } else { Lookup::Damaged }
    }

    /// The entry of `path`, if the path certainly has one.
    #[must_use]
    pub fn lookup(&self, path: &[u8]) -> Option<Entry<'a>> {
        self.find(path).found()
    }

    /// The entry with number `number`, 0 to `len() - 1`, if it is not damaged.
    #[must_use]
    pub fn entry(&self, number: usize) -> Option<Entry<'a>> {
        let entry = self.proven(number)?;
        let path = entry.path();
        (hash_path(path) == entry.hash() && self.texts(&entry, path)).then_some(entry)
    }

    /// The entry with number `number`, if the check of its fixed part is right.
    #[inline]
    fn proven(&self, number: usize) -> Option<Entry<'a>> {
        let bytes = self.entries.get(number)?;
        let place = self.entries_at + number * ENTRY_BYTES;
        (check(self.seed, place, &bytes[..ENTRY_CHECK]) == u64_at(bytes, ENTRY_CHECK)).then_some(
            Entry { strings: self.strings, bytes, fs_len: self.fs.len(), seed: self.seed },
        )
    }

    /// Whether the strings of an entry are undamaged and the entry's path is `path`. The caller must have verified the
    /// entry's fixed part.
    #[inline]
    fn texts(&self, entry: &Entry<'a>, path: &[u8]) -> bool {
        let is = |text: &[u8], dir: &[u8]| text.strip_prefix(dir) == Some(path);
        if !is(entry.staged(), self.fs) {
            return false;
        }
        let special = entry.kind() == Kind::Symlink || entry.flag(ENTRY_EDITED);
        !special || self.special_texts(entry, path)
    }

    #[inline(never)]
    fn special_texts(&self, entry: &Entry<'a>, path: &[u8]) -> bool {
        if entry.flag(ENTRY_EDITED) && entry.pristine().strip_prefix(self.orig) != Some(path) {
            return false;
        }
        if entry.kind() != Kind::Symlink {
            return true;
        }
        let (off, target) = (entry.offset(2), entry.target());
        // An empty text means that the target does not lie in the strings. No link has an empty target.
        !target.is_empty() && proven_text(self.strings, self.seed, off, target)
    }

    /// The number of an entry of this index, for [`entry`](Self::entry). `None` for an entry of another index.
    #[must_use]
    pub fn number(&self, entry: &Entry<'_>) -> Option<usize> {
        let at = (entry.bytes.as_ptr() as usize).checked_sub(self.entries.as_ptr() as usize)?;
        (at < size_of_val(self.entries)).then_some(at / ENTRY_BYTES)
    }
}

/// A string of the head. The head has the string's offset and length at the offset `at`.
#[inline]
fn head_string(head: &[u8], at: usize) -> Option<&[u8]> {
    string(head, u32_at(head, at) as usize, u32_at(head, at + 4) as usize)
}
