//! Holds the stack: the manifests of its bundles, and the prefixes that they cover together.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::error::Error;
use crate::manifest::document::Manifest;
use crate::manifest::entry::EntryRecord;
use crate::manifest::freshness::first_change;
use crate::manifest::prefix::{Mode, PrefixRecord, at_or_below, overlap};

/// The bundles laid so far.
#[derive(Debug, Default)]
pub struct Stack {
    pub(super) bundles: Vec<Manifest>,
    pub(super) prefixes: Vec<PrefixRecord>,
}

impl Stack {
    /// The bundles, each with the entries that no later bundle replaced or removed.
    #[must_use]
    pub fn bundles(&self) -> &[Manifest] {
        &self.bundles
    }

    /// The prefixes that the bundles cover together. A prefix may lie in another prefix.
    #[must_use]
    pub fn prefixes(&self) -> &[PrefixRecord] {
        &self.prefixes
    }

    /// Every entry with the number of its bundle.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &EntryRecord)> {
        self.bundles.iter().enumerate().flat_map(|(b, m)| m.entries.iter().map(move |e| (b, e)))
    }

    /// The innermost prefix at or above `path`.
    #[must_use]
    pub fn prefix_of(&self, path: &[u8]) -> Option<&PrefixRecord> {
        let around = self.prefixes.iter().filter(|p| at_or_below(path, &p.path));
        around.max_by_key(|p| p.path.len())
    }

    /// Whether one of `prefixes` lies at, above or below a prefix of the stack.
    #[must_use]
    pub fn overlaps(&self, prefixes: &[PrefixRecord]) -> bool {
        overlap(&self.prefixes, prefixes)
    }

    /// Returns the bundle with this number if it is whole and its prefixes overlap no prefix of another bundle. Such a
    /// bundle still has all its entries.
    #[must_use]
    pub fn separate(&self, number: usize) -> Option<&Manifest> {
        let (one, mut all) = (self.bundles.get(number)?, self.bundles.iter().enumerate());
        let met = all.any(|(other, m)| other != number && overlap(&m.prefixes, &one.prefixes));
        (!met && one.layer.is_none()).then_some(one)
    }

    /// Returns the first path below the snapshot prefixes that changed after packing; `None` while all prefixes are
    /// fresh.
    ///
    /// # Errors
    /// As [`Manifest::first_change`].
    pub fn first_change(&self) -> Result<Option<PathBuf>, Error> {
        // The walk of an outer prefix also covers the prefixes inside it.
        let inner = |p: &PrefixRecord| {
            self.prefixes.iter().any(|o| o.path != p.path && at_or_below(&p.path, &o.path))
        };
        let snapshots = self.prefixes.iter().filter(|p| p.mode == Mode::Snapshot && !inner(p));
        let snapshots: Vec<PrefixRecord> = snapshots.cloned().collect();
        let concerned = |e: &EntryRecord| snapshots.iter().any(|p| at_or_below(&e.path, &p.path));
        let known = self.entries().map(|(_, entry)| entry).filter(|entry| concerned(entry));
        first_change(&snapshots, known.map(|entry| (entry.path(), &entry.stat)).collect())
    }
}
