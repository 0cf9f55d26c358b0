//! Writes an [index](crate::index): the staging tools collect entries in an [`IndexBuilder`], [`IndexBuilder::finish`]
//! gives the file's bytes.

extern crate alloc;
use alloc::vec::Vec;

use crate::index::{
    ENTRY_BYTES, HEADER_BYTES, Kind, MAGIC, PREFIX_BYTES, PrefixMode, Record, Stat, VERSION,
};
use crate::{hash_path, layout};

/// One path to put into an index.
#[derive(Debug, Clone, Copy)]
pub struct NewEntry<'a> {
    /// Original absolute path in its prefix's canonical spelling, normalized.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// `ENTRY_…` bits.
    pub flags: u8,
    /// A symbolic link's original target, else empty.
    pub target: &'a [u8],
    /// Whether the file under `fs/` was edited and the original bytes stand under `orig/`.
    pub edited: bool,
    /// Number of the prefix, as [`IndexBuilder::prefix`] returned it.
    pub prefix: u16,
    /// The original's attributes, with this node's device number.
    pub stat: Stat,
}

/// Collects prefixes and entries.
#[derive(Debug)]
pub struct IndexBuilder {
    flags: u32,
    fs: Vec<u8>,
    orig: Vec<u8>,
    stage: (u32, u32),
    prefixes: Vec<[u8; PREFIX_BYTES]>,
    entries: Vec<Record>,
    strings: Vec<u8>,
}

impl IndexBuilder {
    /// Starts an index for the stage whose final directory is `stage` (absolute, no slash at its end).
    ///
    /// `flags` are `FLAG_…` bits of [`crate::index`].
    #[must_use]
    pub fn new(stage: &[u8], flags: u32) -> Self {
        let below = |name: &str| [stage, b"/", name.as_bytes()].concat();
        let mut builder = Self {
            flags,
            fs: below(layout::FS),
            orig: below(layout::ORIG),
            stage: (0, 0),
            prefixes: Vec::new(),
            entries: Vec::new(),
            strings: Vec::new(),
        };
        builder.stage = builder.string(&[stage]);
        builder
    }

    /// Adds a prefix, or with `path != canonical` another spelling of one, and returns its number.
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
        let path = self.string(&[path]);
        let canonical = self.string(&[canonical]);
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

    /// Adds an entry. Each path must be added once.
    pub fn entry(&mut self, new: &NewEntry<'_>) {
        let fs = core::mem::take(&mut self.fs);
        let orig = core::mem::take(&mut self.orig);
        let record = Record {
            hash: hash_path(new.path),
            staged: self.string(&[&fs, new.path]),
            pristine: if new.edited { self.string(&[&orig, new.path]) } else { (0, 0) },
            target: if new.kind == Kind::Symlink { self.string(&[new.target]) } else { (0, 0) },
            kind: new.kind,
            flags: new.flags,
            prefix: new.prefix,
            stat: new.stat,
        };
        self.entries.push(record);
        (self.fs, self.orig) = (fs, orig);
    }

    /// The bytes of the index file.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let nslots = (self.entries.len() * 2).next_power_of_two().max(8);
        let mut slots = alloc::vec![0u32; nslots];
        for (number, entry) in self.entries.iter().enumerate() {
            let mut slot = (entry.hash as usize) & (nslots - 1);
            while slots[slot] != 0 {
                slot = (slot + 1) & (nslots - 1);
            }
            slots[slot] = u32::try_from(number + 1).expect("fewer than 2^32 entries");
        }
        let slots_at = HEADER_BYTES;
        let entries_at = slots_at + nslots * 4;
        let prefixes_at = entries_at + self.entries.len() * ENTRY_BYTES;
        let strings_at = prefixes_at + self.prefixes.len() * PREFIX_BYTES;
        let total = strings_at + self.strings.len();

        let mut file = Vec::with_capacity(total);
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&self.flags.to_le_bytes());
        file.extend_from_slice(&(total as u64).to_le_bytes());
        for count in [nslots, self.entries.len(), self.prefixes.len(), self.fs.len()] {
            file.extend_from_slice(&(count as u32).to_le_bytes());
        }
        for offset in [slots_at, entries_at, prefixes_at, strings_at, self.strings.len()] {
            file.extend_from_slice(&(offset as u64).to_le_bytes());
        }
        file.extend_from_slice(&self.stage.0.to_le_bytes());
        file.extend_from_slice(&self.stage.1.to_le_bytes());
        file.resize(HEADER_BYTES, 0);
        for slot in &slots {
            file.extend_from_slice(&slot.to_le_bytes());
        }
        for entry in &self.entries {
            file.extend_from_slice(&entry.to_bytes());
        }
        for prefix in &self.prefixes {
            file.extend_from_slice(prefix);
        }
        file.extend_from_slice(&self.strings);
        file
    }

    fn string(&mut self, parts: &[&[u8]]) -> (u32, u32) {
        let at = u32::try_from(self.strings.len()).expect("less than 4 GiB of paths");
        for part in parts {
            self.strings.extend_from_slice(part);
        }
        let len = self.strings.len() as u32 - at;
        self.strings.push(0);
        (at, len)
    }
}
