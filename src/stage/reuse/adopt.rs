//! Takes bundles from a stage that this node has already: where one of several bundles changed, only that one travels.
//!
//! The files of the new stage are then hard links to those of the old one, which share its memory and outlive it.
//! Directories, symbolic links and edited libraries are made anew, since they depend on the stage and on what its other
//! bundles bring; so what is linked are always pristine bytes.
//!
//! What must stay true: nothing in the old stage changes, as a job may be running from it. It is held by a lease from
//! the first look until the new stage is published. What is not exactly as the bundle's manifest says is not taken:
//! then the bundle travels.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::bundle::Size;
use crate::error::{Error, Result};
use crate::instrument::test_pause;
use crate::manifest::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::prefix::{PrefixRecord, overlap};
use crate::stage::reuse::divergence::Divergence;
use crate::stage::reuse::donor::{Directories, Held, Holder, changed, files, open};
use crate::stage::staged_file::{LastDirectory, Maker, below, file_times};
use crate::stage::{BuildOptions, Identity, Place};

/// Of each bundle that was named, where it comes from.
#[derive(Default)]
pub struct Adoption {
    origins: Vec<Origin>,
    /// All stages that have it: each may know something that diverged, also where it is not taken from any.
    holders: Vec<Vec<Arc<Holder>>>,
    /// Its prefixes, as far as a stage knows them.
    prefixes: Vec<Option<Vec<PrefixRecord>>>,
}

enum Origin {
    /// From its file.
    File,
    /// From a stage of this node.
    Stage(Adoptable),
    /// It is not needed, or was taken already.
    Nowhere,
}

/// A bundle that a stage of this node holds unchanged.
pub struct Adoptable {
    /// The stage.
    from: Arc<Holder>,
    pub(in crate::stage) bundle: Box<Held>,
}

impl Adoption {
    /// Looks for the bundles of `options` in all stages of `place`. Where it finds all of them, those that `options` do not
    /// want are left out; else the files of the others say which ones these are. What lies over another bundle is read.
    #[must_use]
    pub fn find(place: &Place, options: &BuildOptions) -> Self {
        let identities = &options.identities;
        let stages = place.stages().unwrap_or_default().into_iter();
        let all: Vec<Arc<Holder>> =
            stages.filter_map(|stage| Holder::open(stage, identities).map(Arc::new)).collect();
        let held = |identity: &Identity| -> Vec<_> {
            all.iter().filter(|h| h.has(identity)).cloned().collect()
        };
        let holders: Vec<_> = identities.iter().map(held).collect();
        let first = |(identity, holders): (&Identity, &Vec<Arc<Holder>>)| {
            let known = |(at, h): (usize, &Arc<Holder>)| Some((at, h.manifest(identity)?));
            holders.iter().enumerate().find_map(known)
        };
        let found: Vec<_> = identities.iter().zip(&holders).map(first).collect();
        let prefixes: Vec<Option<Vec<PrefixRecord>>> = (found.iter())
            .map(|found| found.as_ref().map(|(_, (_, manifest))| manifest.prefixes.clone()))
            .collect();
        let all_known = prefixes.iter().all(Option::is_some);
        let known: Vec<&[PrefixRecord]> =
            prefixes.iter().map(|known| known.as_deref().unwrap_or_default()).collect();
        let wanted = options.wanted(&known);
        let mut origins = Vec::new();
        for (number, found) in found.into_iter().enumerate() {
            let lies_over = |below: usize| wanted[below] && overlap(known[below], known[number]);
            origins.push(match found {
                Some(_) if all_known && !wanted[number] => Origin::Nowhere,
                Some((at, manifest)) if wanted[number] && !(0..number).any(lies_over) => {
                    let (from, others) = (&holders[number][at], &holders[number][at + 1..]);
                    let adoptable = |from: &Arc<Holder>, manifest| {
                        let bundle = from.bundle(manifest, options)?;
                        Some(Origin::Stage(Adoptable { from: from.clone(), bundle }))
                    };
                    let other =
                        |from| adoptable(from, Holder::manifest(from, &identities[number])?);
                    let taken = adoptable(from, manifest);
                    taken.or_else(|| others.iter().find_map(other)).unwrap_or(Origin::File)
                }
                _ => Origin::File,
            });
        }
        Self { origins, holders, prefixes }
    }

    /// The prefixes of the bundle with this number, if a stage knows them.
    #[must_use]
    pub fn prefixes(&self, number: usize) -> &[PrefixRecord] {
        self.prefixes.get(number).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Whether the bundle with this number has to be read.
    #[must_use]
    pub fn needs(&self, number: usize) -> bool {
        matches!(self.origins.get(number), Some(Origin::File))
    }

    /// Whether it is taken from a stage.
    #[must_use]
    pub fn has(&self, number: usize) -> bool {
        matches!(self.origins.get(number), Some(Origin::Stage(_)))
    }

    /// Whether nothing is taken from any stage.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !(0..self.origins.len()).any(|number| self.has(number))
    }

    /// Hands out the bundle with this number.
    pub fn take(&mut self, number: usize) -> Option<Adoptable> {
        match std::mem::replace(self.origins.get_mut(number)?, Origin::Nowhere) {
            Origin::Stage(bundle) => Some(bundle),
            origin => {
                self.origins[number] = origin;
                None
            }
        }
    }

    /// What is taken from stages needs so much nevertheless.
    #[must_use]
    pub fn size(&self) -> Size {
        let sizes = self.origins.iter().filter_map(|origin| match origin {
            Origin::Stage(bundle) => Some(bundle.size()),
            _ => None,
        });
        sizes.sum()
    }

    /// The bundle with this number, which was handed out, could not be taken: it has to be read.
    pub fn miss(&mut self, number: usize) {
        if let Some(origin) = self.origins.get_mut(number) {
            *origin = Origin::File;
        }
    }

    /// Of each bundle, the stages that have it.
    pub(in crate::stage) fn into_holders(self) -> Vec<Vec<Arc<Holder>>> {
        self.holders
    }

    /// Takes nothing from any stage after all, and holds none.
    pub fn give_up(&mut self) {
        self.holders.clear();
        for origin in &mut self.origins {
            if matches!(origin, Origin::Stage(_)) {
                *origin = Origin::File;
            }
        }
    }
}

impl Adoptable {
    /// The stage that it is taken from.
    #[must_use]
    pub fn from(&self) -> &Path {
        &self.from.stage.dir
    }

    /// What it takes although its files are there: names, and libraries that are edited for the new stage.
    #[must_use]
    pub fn size(&self) -> Size {
        let edited = self
            .bundle
            .manifest
            .entries
            .iter()
            .filter(|entry| matches!(entry.kind, EntryKind::File { runpath: Some(_), .. }));
        Size {
            bytes: edited.map(|entry| entry.stat.size.next_multiple_of(4096)).sum(),
            entries: self.bundle.manifest.entries.len() as u64,
            at_least: false,
        }
    }

    /// Links the files into `maker`'s root, where the directories are. What cannot be linked is copied.
    pub(in crate::stage) fn link(&self, maker: &Maker) -> Result<()> {
        let mut from = Directories::of(&self.from.stage);
        let (mut to, mut made) = (LastDirectory::default(), LastDirectory::default());
        let mut link = |number: usize, entry: &EntryRecord| -> io::Result<()> {
            let (source, name) = from.at(entry, self.bundle.edited.contains(&number))?;
            let parent = entry.path().parent().unwrap_or(Path::new("/"));
            let target = to.at(maker.root(), parent)?;
            match rustix::fs::linkat(source, name, target, name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {
                    let mut file = maker.create(entry, &mut made)?;
                    io::copy(&mut open(source, name)?, &mut file)?;
                    rustix::fs::futimens(&file, &file_times(entry))?;
                }
                Err(e) => return Err(e.into()),
            }
            // It was right before: only someone who removes stages by force can have come between.
            let as_before = changed(target, name, entry)?.is_some();
            as_before
                .then_some(())
                .ok_or_else(|| io::Error::other("the file it was linked to changed"))
        };
        for (number, entry) in files(&self.bundle.manifest) {
            test_pause::at("adopt");
            link(number, entry).map_err(|e| Error::write(&below(maker.root(), entry.path()))(e))?;
        }
        Ok(())
    }
}

/// What the stages that hold bundles know to have diverged, but for what comes from a bundle that they do not have: that is
/// newer. `holders` are those of each of `manifests`.
pub(in crate::stage) fn inherited(
    holders: &[&[Arc<Holder>]],
    manifests: &[Manifest],
) -> Divergence {
    let mut all = Divergence::default();
    let mut asked: HashSet<&Path> = HashSet::new();
    for holder in holders.iter().copied().flatten().filter(|h| asked.insert(&h.stage.dir)) {
        let mut known = holder.diverged();
        if !known.is_empty() {
            let holds = |holders: &[Arc<Holder>]| holders.iter().any(|h| Arc::ptr_eq(h, holder));
            let others = holders.iter().zip(manifests).filter(|(holders, _)| !holds(holders));
            for entry in others.flat_map(|(_, manifest)| &manifest.entries) {
                known.forget(&entry.path);
            }
        }
        all.join(&known);
    }
    all
}
