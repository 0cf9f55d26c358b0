//! Lays a bundle: applies a planned change to the stack.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use crate::manifest::document::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::prefix::{Mode, PrefixRecord, at_or_below};
use crate::manifest::stack::bundles::Stack;
use crate::manifest::stack::change::StackChange;
use crate::manifest::stack::error::StackError;

impl Stack {
    /// Lays a bundle over the others.
    ///
    /// # Errors
    /// As [`Stack::plan`].
    pub fn lay(&mut self, new: Manifest) -> Result<(), StackError> {
        let change = self.plan(&new)?;
        self.commit(new, change);
        Ok(())
    }

    /// Lays `new` over the others as [`Stack::plan`] planned it.
    pub fn commit(&mut self, mut new: Manifest, change: StackChange) {
        for (number, kind) in change.kept.iter().zip(change.kept_kinds) {
            new.entries[*number].kind = kind;
        }
        if !change.implied.is_empty() {
            retain_entries(&mut new, |number| !change.implied.contains(&number));
        }
        let changed: HashSet<usize> = change.dead.iter().map(|at| at.0).collect();
        for b in changed {
            let manifest = &mut self.bundles[b];
            for ((_, file), heir) in change.heirs.iter().filter(|(at, _)| at.0 == b) {
                let file = *file;
                manifest.entries[*heir].kind = manifest.entries[file].kind.clone();
                let others = manifest.entries.iter_mut();
                for other in others.filter(|e| e.kind == EntryKind::HardLink(file as u32)) {
                    other.kind = EntryKind::HardLink(*heir as u32);
                }
            }
            retain_entries(manifest, |number| !change.dead.contains(&(b, number)));
        }
        let met = self.overlaps(&new.prefixes);
        self.add_prefixes(&new);
        self.bundles.push(new);
        if met {
            self.tidy_prefixes();
        }
    }

    fn add_prefixes(&mut self, new: &Manifest) {
        for prefix in &new.prefixes {
            let mode = match &new.layer {
                Some(_) => self.prefix_of(&prefix.path).map_or(prefix.mode, |p| p.mode),
                None => prefix.mode,
            };
            if mode == Mode::Snapshot && new.layer.is_none() {
                let within =
                    self.prefixes.iter_mut().filter(|p| at_or_below(&p.path, &prefix.path));
                within.for_each(|p| p.mode = mode);
            }
            match self.prefixes.iter_mut().find(|p| p.path == prefix.path) {
                Some(known) => {
                    known.mode = mode;
                    known.aliases.extend(prefix.aliases.iter().cloned());
                }
                None => self.prefixes.push(PrefixRecord { mode, ..prefix.clone() }),
            }
        }
    }

    /// Drops prefixes that no longer have an entry. Drops aliases that lie in a prefix, because the bundle of that
    /// prefix has these aliases as links.
    fn tidy_prefixes(&mut self) {
        let mut there: HashSet<Vec<u8>> = HashSet::new();
        for (_, entry) in self.entries().filter(|(_, e)| e.kind == EntryKind::Directory) {
            if self.prefixes.iter().any(|p| p.path == entry.path) {
                there.insert(entry.path.to_vec());
            }
        }
        self.prefixes.retain(|p| there.contains(p.path.as_slice()));
        let paths: Vec<Vec<u8>> = self.prefixes.iter().map(|p| p.path.to_vec()).collect();
        for prefix in &mut self.prefixes {
            prefix.aliases.retain(|alias| !paths.iter().any(|path| at_or_below(alias, path)));
            prefix.aliases.sort();
            prefix.aliases.dedup();
        }
    }
}

/// Keeps the entries whose numbers `keep` accepts, and renumbers hard links. A hard link that is kept must name a file
/// that is kept.
fn retain_entries(manifest: &mut Manifest, keep: impl Fn(usize) -> bool) {
    let mut numbers = Vec::with_capacity(manifest.entries.len());
    let mut next = 0;
    for number in 0..manifest.entries.len() {
        numbers.push(next);
        next += u32::from(keep(number));
    }
    let mut number = 0;
    let mut kept = |_: &EntryRecord| {
        number += 1;
        keep(number - 1)
    };
    manifest.entries.retain(&mut kept);
    for entry in &mut manifest.entries {
        if let EntryKind::HardLink(to) = &mut entry.kind {
            *to = numbers[*to as usize];
        }
    }
    if let Some(xattrs) = &mut manifest.xattrs {
        let mut number = 0;
        xattrs.of.retain(|_| {
            number += 1;
            keep(number - 1)
        });
    }
}
