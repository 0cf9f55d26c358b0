//! Takes unchanged bundles from other stages of this node. When one of several bundles has changed, only the changed
//! bundle is read or broadcast.
//!
//! The files of the new stage are hard links to the donor's files, so they share the donor's memory and outlive the
//! donor. Directories, symbolic links and edited libraries depend on the stage and on its other bundles, and are
//! created again. So only pristine bytes are linked.
//!
//! Invariants:
//! - Nothing in a donor changes, as a job may be running from it.
//! - Leases on the donors last from the search for donors until the new stage is published.
//! - A bundle is taken only if it is exactly as its manifest says. Otherwise it is read or broadcast.
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
use crate::instrument::test_pause::Moment;
use crate::manifest::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::prefix::{PrefixRecord, overlap};
use crate::stage::build_options::BuildOptions;
use crate::stage::id::Identity;
use crate::stage::published::Stage;
use crate::stage::reuse::divergence::Divergence;
use crate::stage::reuse::donor::{Directories, DonatedBundle, Donor, changed, files};
use crate::stage::staged_file::{FileMaker, LastDirectory, below, file_times, open};
use crate::stage::user_dir::UserDir;

/// Where a new stage gets each of the job's bundles.
#[derive(Default)]
pub struct Adoption {
    origins: Vec<Origin>,
    /// For each bundle, all donors that have it. Each donor may have marks that the new stage inherits, even if the
    /// bundle is taken from another donor.
    donors: Vec<Vec<Arc<Donor>>>,
    /// For each bundle, its prefixes; `None` if no donor has the bundle's manifest.
    prefixes: Vec<Option<Vec<PrefixRecord>>>,
}

/// Where a bundle comes from.
enum Origin {
    /// From its file.
    File,
    /// From a stage of this node.
    Donor(Donation),
    /// The bundle is not needed, or was taken already.
    Nowhere,
}

/// An unchanged bundle and the stage of this node that has it.
pub struct Donation {
    donor: Arc<Donor>,
    pub(in crate::stage) bundle: Box<DonatedBundle>,
}

impl Adoption {
    /// Looks for the bundles in all stages in `user_dir`.
    ///
    /// If all bundles are found, those that `options` do not want are left out. Otherwise the prefixes of the missing
    /// bundles have to be read before it is known which bundles are wanted. A bundle that lies over another one is
    /// always read.
    #[must_use]
    pub fn find(user_dir: &UserDir, identities: &[Identity], options: &BuildOptions) -> Self {
        let stages = Stage::all(user_dir).unwrap_or_default().into_iter();
        let all: Vec<Arc<Donor>> =
            stages.filter_map(|stage| Donor::open(stage, identities).map(Arc::new)).collect();
        let donors_of = |identity: &Identity| -> Vec<_> {
            all.iter().filter(|donor| donor.has(identity)).cloned().collect()
        };
        let donors: Vec<_> = identities.iter().map(donors_of).collect();
        // Finds the first donor that has a manifest of the bundle. Returns the donor's place among the bundle's donors,
        // and the manifest.
        let first = |(identity, donors): (&Identity, &Vec<Arc<Donor>>)| {
            let known = |(at, d): (usize, &Arc<Donor>)| Some((at, d.manifest(identity)?));
            donors.iter().enumerate().find_map(known)
        };
        let manifests: Vec<_> = identities.iter().zip(&donors).map(first).collect();
        let prefixes: Vec<Option<Vec<PrefixRecord>>> = (manifests.iter())
            .map(|known| known.as_ref().map(|(_, (_, manifest))| manifest.prefixes.clone()))
            .collect();
        let all_known = prefixes.iter().all(Option::is_some);
        let known: Vec<&[PrefixRecord]> =
            prefixes.iter().map(|known| known.as_deref().unwrap_or_default()).collect();
        let wanted = options.wanted(&known);
        let mut origins = Vec::new();
        for (number, manifest) in manifests.into_iter().enumerate() {
            let lies_over = |below: usize| wanted[below] && overlap(known[below], known[number]);
            origins.push(match manifest {
                Some(_) if all_known && !wanted[number] => Origin::Nowhere,
                Some((at, manifest)) if wanted[number] && !(0..number).any(lies_over) => {
                    let (first, others) = (&donors[number][at], &donors[number][at + 1..]);
                    let donation = |donor: &Arc<Donor>, manifest| {
                        let bundle = donor.bundle(manifest, options)?;
                        Some(Origin::Donor(Donation { donor: donor.clone(), bundle }))
                    };
                    let other =
                        |donor| donation(donor, Donor::manifest(donor, &identities[number])?);
                    let donated = donation(first, manifest);
                    donated.or_else(|| others.iter().find_map(other)).unwrap_or(Origin::File)
                }
                _ => Origin::File,
            });
        }
        Self { origins, donors, prefixes }
    }

    /// The prefixes of the bundle with this number; empty if no donor has the bundle's manifest.
    #[must_use]
    pub fn prefixes(&self, number: usize) -> &[PrefixRecord] {
        self.prefixes.get(number).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Whether the bundle with this number has to be read from its file.
    #[must_use]
    pub fn needs_file(&self, number: usize) -> bool {
        matches!(self.origins.get(number), Some(Origin::File))
    }

    /// Whether the bundle with this number comes from a donor.
    #[must_use]
    pub fn is_donated(&self, number: usize) -> bool {
        matches!(self.origins.get(number), Some(Origin::Donor(_)))
    }

    /// Whether no bundle comes from a donor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !(0..self.origins.len()).any(|number| self.is_donated(number))
    }

    /// Hands out the bundle with this number; `None` if the bundle does not come from a donor, or was handed out
    /// before.
    pub fn take(&mut self, number: usize) -> Option<Donation> {
        match std::mem::replace(self.origins.get_mut(number)?, Origin::Nowhere) {
            Origin::Donor(donation) => Some(donation),
            origin => {
                self.origins[number] = origin;
                None
            }
        }
    }

    /// Extra space that the donated bundles take.
    #[must_use]
    pub fn size(&self) -> Size {
        let sizes = self.origins.iter().filter_map(|origin| match origin {
            Origin::Donor(donation) => Some(donation.size()),
            _ => None,
        });
        sizes.sum()
    }

    /// Records that the bundle with this number, which was handed out, has to be read from its file after all.
    pub fn read_after_all(&mut self, number: usize) {
        if let Some(origin) = self.origins.get_mut(number) {
            *origin = Origin::File;
        }
    }

    /// For each bundle, the donors that have it.
    pub(in crate::stage) fn into_donors(self) -> Vec<Vec<Arc<Donor>>> {
        self.donors
    }

    /// Releases all donors: every bundle that they would have donated is read from its file.
    pub fn give_up(&mut self) {
        self.donors.clear();
        for origin in &mut self.origins {
            if matches!(origin, Origin::Donor(_)) {
                *origin = Origin::File;
            }
        }
    }
}

impl Donation {
    /// The directory of the donor.
    #[must_use]
    pub fn donor(&self) -> &Path {
        &self.donor.stage.dir
    }

    /// Extra space that the bundle takes although its files exist already: directory entries, and libraries that are
    /// edited for the new stage.
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

    /// Links the donor's files below the root of `maker`, where their directories exist already. A file is copied if
    /// the file system does not allow the link.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] names the first file that can be neither linked nor copied.
    pub(in crate::stage) fn link(&self, maker: &FileMaker) -> Result<()> {
        let mut from = Directories::of(&self.donor.stage);
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
            // The donor's file was checked before, so only a forced removal of the donor can have changed it meanwhile.
            let as_before = changed(target, name, entry)?.is_some();
            as_before
                .then_some(())
                .ok_or_else(|| io::Error::other("the donor's file changed meanwhile"))
        };
        for (number, entry) in files(&self.bundle.manifest) {
            test_pause::at(Moment::Adopt);
            link(number, entry).map_err(|e| Error::write(&below(maker.root(), entry.path()))(e))?;
        }
        Ok(())
    }
}

/// Joins the marks that a new stage inherits from the donors of its bundles. `donors` has, for the bundle of each of
/// `manifests`, the donors that have the bundle. If a donor does not have one of the bundles, that bundle is newer than
/// the donor, and the donor's marks on the bundle's paths do not count.
pub(in crate::stage) fn inherited(donors: &[&[Arc<Donor>]], manifests: &[Manifest]) -> Divergence {
    let mut all = Divergence::default();
    let mut asked: HashSet<&Path> = HashSet::new();
    for donor in donors.iter().copied().flatten().filter(|d| asked.insert(&d.stage.dir)) {
        let mut known = donor.diverged();
        if !known.is_empty() {
            let has_it = |donors: &[Arc<Donor>]| donors.iter().any(|d| Arc::ptr_eq(d, donor));
            let others = donors.iter().zip(manifests).filter(|(donors, _)| !has_it(donors));
            for entry in others.flat_map(|(_, manifest)| &manifest.entries) {
                known.forget(&entry.path);
            }
        }
        all.join(&known);
    }
    all
}
