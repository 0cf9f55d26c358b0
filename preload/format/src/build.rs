//! Writes an [index](crate::index). The staging tools collect entries in an [`IndexBuilder`], and
//! [`IndexBuilder::finish`] makes the file's bytes.

extern crate alloc;
use alloc::vec::Vec;

use crate::hash::check;
use crate::index::{
    BUCKET_BYTES, BUCKET_SLOTS, HEADER_BYTES, HEADER_CHECK, MAGIC, PREFIX_BYTES, PrefixMode,
    VERSION,
};
use crate::record::{ENTRY_BYTES, ENTRY_EDITED, Kind, Record, Stat};
use crate::strings::text_check;
use crate::xattr::{CLASSES, HEAD_BYTES, NOT_HERE};
use crate::{hash_path, layout};

/// Number of bytes that the kernel maps at one page fault if they are in memory (`fault_around_bytes`). The hash table
/// begins at a multiple of this number, so that the sixteen pages that the kernel maps with the head hold no other
/// data. A starting process reads only the head. If the other fifteen pages held data, each process would map and unmap
/// them too, which took 4 µs. The hole between the head and the hash table costs nothing.
const MAPPED_TOGETHER: usize = 1 << 16;

/// One path to put into an index.
#[derive(Debug, Clone, Copy)]
pub struct NewEntry<'a> {
    /// The original absolute path in its prefix's canonical spelling, normalized.
    pub path: &'a [u8],
    /// The kind.
    pub kind: Kind,
    /// `ENTRY_…` bits except [`ENTRY_EDITED`].
    pub flags: u8,
    /// A symbolic link's original target, else empty.
    pub target: &'a [u8],
    /// Whether the file under `fs/` was edited. The original bytes are then under `orig/`.
    pub edited: bool,
    /// Number of the prefix, as [`IndexBuilder::prefix`] returned it.
    pub prefix: u16,
    /// Number of the bundle that the path came from.
    pub bundle: u16,
    /// The extended attributes, as [`IndexBuilder::xattrs`] returned them; `None` if the shim must ask the original.
    pub xattrs: Option<XattrsId>,
    /// The original's attributes, with this node's device number.
    pub stat: Stat,
}

/// Extended attributes to put into an index.
#[derive(Debug, Clone, Copy)]
pub struct NewXattrs<'a> {
    /// Error number of a listing: 0 if the listing succeeds, [`crate::xattr::ASK`] if the shim must ask the original.
    pub list: u8,
    /// Error number for a missing name of each [`crate::xattr::Class`]; [`crate::xattr::ASK`] if the shim must ask the
    /// original.
    pub missing: [u8; CLASSES],
    /// Names and values in the order of a listing; `None` for a value that was not recorded.
    pub values: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Extended attributes that were added to an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XattrsId(u32);

/// Collects the prefixes and entries of an index.
#[derive(Debug)]
pub struct IndexBuilder {
    flags: u32,
    fs: Vec<u8>,
    orig: Vec<u8>,
    prefixes: Vec<[u8; PREFIX_BYTES]>,
    /// Strings of the head. Offsets count from the end of the prefixes, whose place only [`Self::finish`] knows.
    head: Vec<u8>,
    entries: Vec<Record>,
    strings: Vec<u8>,
    /// Offsets and lengths of the strings that have a check before them.
    proven: Vec<(u32, usize)>,
}

impl IndexBuilder {
    /// Starts an index for the stage whose final directory is `stage` (absolute, without a slash at the end).
    ///
    /// `flags` are `FLAG_…` bits of [`crate::index`].
    #[must_use]
    pub fn new(stage: &[u8], flags: u32) -> Self {
        let below = |name: &str| [stage, b"/", name.as_bytes()].concat();
        Self {
            flags,
            fs: below(layout::FS),
            orig: below(layout::ORIG),
            prefixes: Vec::new(),
            head: Vec::new(),
            entries: Vec::new(),
            strings: Vec::new(),
            proven: Vec::new(),
        }
    }

    /// Adds a prefix and returns the prefix's number. With `path != canonical`, adds another spelling of a prefix.
    ///
    /// `statfs` is as in [`crate::Prefix`].
    pub fn prefix(
        &mut self,
        path: &[u8],
        canonical: &[u8],
        mode: PrefixMode,
        statfs: &[u64; 11],
    ) -> u16 {
        let mut b = [0; PREFIX_BYTES];
        let path = string(&mut self.head, &[path]);
        let canonical = string(&mut self.head, &[canonical]);
        let mode = u32::from(mode == PrefixMode::Overlay);
        for (i, v) in [path.0, path.1, canonical.0, canonical.1, mode].iter().enumerate() {
            b[i * 4..i * 4 + 4].copy_from_slice(&v.to_le_bytes());
        }
        for (i, v) in statfs.iter().enumerate() {
            b[24 + i * 8..32 + i * 8].copy_from_slice(&v.to_le_bytes());
        }
        self.prefixes.push(b);
        u16::try_from(self.prefixes.len() - 1).expect("fewer than 65,536 prefixes")
    }

    /// Adds extended attributes. Any number of entries may share the result.
    pub fn xattrs(&mut self, new: &NewXattrs<'_>) -> XattrsId {
        let mut names = Vec::new();
        let mut values = Vec::new();
        for (name, value) in new.values {
            names.extend_from_slice(name);
            names.push(0);
            let len = value.map_or(NOT_HERE, |v| v.len() as u32);
            values.extend_from_slice(&len.to_le_bytes());
            values.extend_from_slice(value.unwrap_or_default());
        }
        let total = (HEAD_BYTES + names.len() + values.len()) as u32;
        let mut b = total.to_le_bytes().to_vec();
        b.push(new.list);
        b.extend_from_slice(&new.missing);
        b.resize(12, 0);
        b.extend_from_slice(&(names.len() as u32).to_le_bytes());
        XattrsId(self.proven_string(&[&b, &names, &values]).0)
    }

    /// Adds an entry. Each path must be added once.
    pub fn entry(&mut self, new: &NewEntry<'_>) {
        let short =
            |(at, len): (u32, u32)| (at, u16::try_from(len).expect("a path of the kernel's"));
        let staged = short(string(&mut self.strings, &[&self.fs, new.path]));
        let pristine =
            if new.edited { string(&mut self.strings, &[&self.orig, new.path]).0 } else { 0 };
        let target = match new.kind {
            Kind::Symlink => short(self.proven_string(&[new.target])),
            _ => (0, 0),
        };
        self.entries.push(Record {
            hash: hash_path(new.path),
            staged,
            pristine,
            target,
            xattrs: new.xattrs.map_or(0, |id| id.0),
            kind: new.kind,
            flags: new.flags | if new.edited { ENTRY_EDITED } else { 0 },
            prefix: new.prefix,
            bundle: new.bundle,
            stat: new.stat,
        });
    }

    /// Makes the bytes of the index file.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entries.sort_by_key(|e| (e.stat.dev, e.stat.ino));
        let seed = self.digest();
        for (at, len) in core::mem::take(&mut self.proven) {
            let at = at as usize;
            let proof = text_check(seed, at, &self.strings[at..at + len]);
            self.strings[at - 8..at].copy_from_slice(&proof.to_le_bytes());
        }
        let roots = [&self.fs, &self.orig].map(|root| string(&mut self.head, &[root]));
        let strings_in_head = HEADER_BYTES + self.prefixes.len() * PREFIX_BYTES;
        let head_len = strings_in_head + self.head.len();
        let buckets_at = head_len.next_multiple_of(MAPPED_TOGETHER);
        let buckets = self.buckets();
        let entries_at = buckets_at + buckets.len() * BUCKET_BYTES;
        let strings_at = entries_at + self.entries.len() * ENTRY_BYTES;
        let total = strings_at + self.strings.len();

        let mut file = Vec::with_capacity(total);
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&self.flags.to_le_bytes());
        file.extend_from_slice(&(total as u64).to_le_bytes());
        for count in [buckets.len(), self.entries.len(), self.prefixes.len(), head_len] {
            let count = u32::try_from(count).expect("fewer than 2^32 of anything");
            file.extend_from_slice(&count.to_le_bytes());
        }
        for offset in [buckets_at, entries_at, strings_at, self.strings.len()] {
            file.extend_from_slice(&(offset as u64).to_le_bytes());
        }
        file.extend_from_slice(&seed.to_le_bytes());
        let shift = strings_in_head as u32;
        for (at, len) in roots {
            file.extend_from_slice(&(at + shift).to_le_bytes());
            file.extend_from_slice(&len.to_le_bytes());
        }
        file.resize(HEADER_BYTES, 0);
        for mut prefix in self.prefixes {
            for field in [0, 8] {
                let at = u32::from_le_bytes([0, 1, 2, 3].map(|i| prefix[field + i])) + shift;
                prefix[field..field + 4].copy_from_slice(&at.to_le_bytes());
            }
            file.extend_from_slice(&prefix);
        }
        file.extend_from_slice(&self.head);
        let proof = check(check(0, 0, &file[..HEADER_CHECK]), 0, &file[HEADER_BYTES..]);
        file[HEADER_CHECK..HEADER_BYTES].copy_from_slice(&proof.to_le_bytes());
        file.resize(buckets_at, 0);
        for mut bucket in buckets {
            let proof = check(seed, file.len(), &bucket[8..]);
            bucket[..8].copy_from_slice(&proof.to_le_bytes());
            file.extend_from_slice(&bucket);
        }
        for entry in &self.entries {
            let place = file.len();
            file.extend_from_slice(&entry.to_bytes(seed, place));
        }
        file.extend_from_slice(&self.strings);
        file
    }

    /// Computes a digest of all entries and strings.
    fn digest(&self) -> u64 {
        let strings = hash_path(&self.strings);
        self.entries.iter().fold(strings, |seed, e| check(seed, 0, &e.to_bytes(0, 0)))
    }

    /// Makes the hash table, without the checks of its buckets. A bucket has room for seven entries and gets at most
    /// four on average.
    fn buckets(&self) -> Vec<[u8; BUCKET_BYTES]> {
        let count = self.entries.len().div_ceil(4).next_power_of_two();
        let mut buckets = alloc::vec![[0; BUCKET_BYTES]; count];
        let mut used = alloc::vec![0; count];
        for (number, entry) in self.entries.iter().enumerate() {
            let mut at = entry.hash as usize & (count - 1);
            while used[at] == BUCKET_SLOTS {
                at = (at + 1) & (count - 1);
            }
            let slot = &mut buckets[at][8 + used[at] * 8..][..8];
            used[at] += 1;
            let number = u32::try_from(number + 1).expect("fewer than 2^32 entries");
            slot[..4].copy_from_slice(&((entry.hash >> 32) as u32).to_le_bytes());
            slot[4..].copy_from_slice(&number.to_le_bytes());
        }
        buckets
    }

    /// Appends room for a check, and a string behind this room. Returns the string's offset and length.
    fn proven_string(&mut self, parts: &[&[u8]]) -> (u32, u32) {
        self.strings.resize(self.strings.len() + 8, 0);
        let (at, len) = string(&mut self.strings, parts);
        self.proven.push((at, len as usize));
        (at, len)
    }
}

/// Appends a string and its NUL. Returns the string's offset and length.
fn string(strings: &mut Vec<u8>, parts: &[&[u8]]) -> (u32, u32) {
    let at = u32::try_from(strings.len()).expect("less than 4 GiB of paths");
    for part in parts {
        strings.extend_from_slice(part);
    }
    let len = strings.len() as u32 - at;
    strings.push(0);
    (at, len)
}
