//! A stage of this node from which a new stage takes bundles, after it is checked that they are there unchanged.
//!
//! Invariants:
//! - A lease on the donor is taken before its bundles are looked at.
//! - Nothing in the donor changes, not even a time.
//! - A bundle that is not exactly as its manifest says is not taken.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use pyshm_format::{Index, layout};
use rustix::fs::{AtFlags, FileType};

use crate::instrument::timeline;
use crate::instrument::timeline::Phase;
use crate::manifest::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::stage::build_options::BuildOptions;
use crate::stage::id::Identity;
use crate::stage::info::Info;
use crate::stage::lease::Lease;
use crate::stage::ownership;
use crate::stage::published::Stage;
use crate::stage::reuse::divergence::Divergence;
use crate::stage::reuse::saved_manifest;
use crate::stage::staged_file::{LastDirectory, below, open, staged_mode};

/// A stage that donates bundles. It stays while this lives.
pub(in crate::stage) struct Donor {
    pub stage: Stage,
    _lease: Lease,
    /// What had diverged when the donor was opened.
    diverged: Divergence,
    info: Info,
    index: Vec<u8>,
    /// When the stage was complete. A file whose inode changed later is compared by its content.
    complete: (i64, i64),
}

/// A bundle that a donor has unchanged.
pub(in crate::stage) struct DonatedBundle {
    pub manifest: Manifest,
    /// The bundle's name for messages.
    pub name: PathBuf,
    /// When its file was written if it is a foreign tar, as in [`Info`].
    pub written: Option<(i64, i64)>,
    /// Numbers of the files whose pristine bytes lie under `orig/`.
    pub edited: HashSet<usize>,
}

impl Donor {
    /// Takes a lease on `stage` if it may donate one of the bundles; `None` if it cannot.
    pub fn open(stage: Stage, identities: &[Identity]) -> Option<Self> {
        stage.check().ok()?;
        let info = stage.info().ok()?;
        info.manifests.iter().any(|saved| identities.contains(&saved.identity)).then_some(())?;
        let lease = stage.lease().ok()?;
        // If everything has diverged, a stage that takes from this one would answer nothing either.
        let diverged = Divergence::of(&stage).ok()?;
        (!diverged.is_all()).then_some(())?;
        let path = stage.dir.join(layout::INDEX);
        let complete = ownership::open(&path).ok()?.metadata().ok()?;
        let index = ownership::read(&path).ok()?;
        let complete = (complete.mtime(), complete.mtime_nsec());
        Some(Self { stage, _lease: lease, diverged, info, index, complete })
    }

    /// Whether the donor was made from this bundle.
    pub fn has(&self, identity: &Identity) -> bool {
        // The identity of a bundle whose file could not be examined is empty, and equals none.
        let known = !identity.path.as_os_str().is_empty();
        known && self.info.manifests.iter().any(|saved| saved.identity == *identity)
    }

    /// What has diverged; if the donor was removed by force meanwhile, what had diverged when it was opened.
    pub fn diverged(&self) -> Divergence {
        Divergence::of(&self.stage).unwrap_or_else(|_| self.diverged.clone())
    }

    /// The bundle's number in this donor and its saved manifest; `None` if the bundle cannot be taken.
    pub fn manifest(&self, identity: &Identity) -> Option<(usize, Manifest)> {
        let number = self.info.manifests.iter().position(|saved| saved.identity == *identity)?;
        if self.is_overlaid(number) {
            return None;
        }
        let saved = &self.info.manifests[number];
        Some((number, saved_manifest::read(&self.stage.dir, number, saved)?))
    }

    /// The bundle with this number and manifest; `None` if it is not exactly as the manifest says.
    pub fn bundle(
        &self,
        (number, mut manifest): (usize, Manifest),
        options: &BuildOptions,
    ) -> Option<Box<DonatedBundle>> {
        let edited = self.edited(&manifest)?;
        self.check_directories(&manifest)?;
        let doubtful = self.check_files(&manifest, &edited)?;
        self.check_contents(&mut manifest, &edited, &doubtful, options)?;
        Some(Box::new(DonatedBundle {
            manifest,
            name: self.info.bundles.get(number)?.clone(),
            written: *self.info.written.get(number)?,
            edited,
        }))
    }

    /// Whether another bundle of the stage lies over this one or below it, as layers do: then some of its files are
    /// missing, and some files below its prefixes are not its own.
    fn is_overlaid(&self, number: usize) -> bool {
        let prefixes = || self.info.prefixes.iter().zip(&self.info.brought_by);
        prefixes().filter(|(_, by)| **by == number).any(|(mine, _)| {
            prefixes().any(|(other, by)| {
                *by != number && (mine.starts_with(other) || other.starts_with(mine))
            })
        })
    }

    /// Numbers of the edited files. Only the index tells them: an edited file has the original's size and times.
    fn edited(&self, manifest: &Manifest) -> Option<HashSet<usize>> {
        let index = Index::parse(&self.index).ok()?;
        let mut edited = HashSet::new();
        for (number, entry) in files(manifest) {
            if matches!(entry.kind, EntryKind::File { runpath: Some(_), .. }) {
                let known = index.lookup(&entry.path)?;
                if known.pristine() != known.staged() {
                    edited.insert(number);
                }
            }
        }
        Some(edited)
    }

    /// Checks that the directories are directories and this user's, since the files in them are found by name.
    fn check_directories(&self, manifest: &Manifest) -> Option<()> {
        let me = rustix::process::geteuid().as_raw();
        let fs = self.stage.dir.join(layout::FS);
        let entries = manifest.entries.iter().filter(|e| e.kind == EntryKind::Directory);
        let above = manifest.prefixes.iter().flat_map(|p| p.path().ancestors().skip(1));
        for path in above.chain(entries.map(EntryRecord::path)) {
            let m = std::fs::symlink_metadata(below(&fs, path)).ok()?;
            (m.is_dir() && m.uid() == me).then_some(())?;
        }
        Some(())
    }

    /// Checks the files' attributes. Returns the numbers of the files whose contents have to be checked too.
    fn check_files(&self, manifest: &Manifest, edited: &HashSet<usize>) -> Option<Vec<usize>> {
        let mut directories = Directories::of(&self.stage);
        let mut doubtful = Vec::new();
        for (number, entry) in files(manifest) {
            let EntryKind::File { digest, .. } = entry.kind else { continue };
            let (directory, name) = directories.at(entry, edited.contains(&number)).ok()?;
            let changed = changed(directory, name, entry).ok()??;
            // A link that another stage made or removed since changes this time as well.
            let later = changed > self.complete;
            let unknown = digest == [0; 32];
            match (later, unknown) {
                (true, true) => return None,
                (false, false) => {}
                _ => doubtful.push(number),
            }
        }
        Some(doubtful)
    }

    /// Checks the contents of the `doubtful` files. Digests that the manifest lacks, as for a foreign tar, are put into
    /// it, so that the next stage which takes the bundle from the new one can use them.
    fn check_contents(
        &self,
        manifest: &mut Manifest,
        edited: &HashSet<usize>,
        doubtful: &[usize],
        options: &BuildOptions,
    ) -> Option<()> {
        let next = AtomicUsize::new(0);
        let entries = &manifest.entries;
        let work = || -> Option<Vec<(usize, [u8; 32])>> {
            let _busy = timeline::busy(Phase::Decode);
            let mut directories = Directories::of(&self.stage);
            let mut digests = Vec::new();
            while let Some(&number) = doubtful.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (directory, name) =
                    directories.at(&entries[number], edited.contains(&number)).ok()?;
                digests.push((number, digest(directory, name).ok()?));
            }
            Some(digests)
        };
        let threads = options.threads().min(doubtful.len());
        let found: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().ok().flatten()).collect()
        });
        for (number, is) in found.into_iter().collect::<Option<Vec<_>>>()?.concat() {
            if let EntryKind::File { digest, .. } = &mut manifest.entries[number].kind {
                if *digest == [0; 32] {
                    *digest = is;
                }
                (*digest == is).then_some(())?;
            }
        }
        Some(())
    }
}

/// The files that have data, with their numbers. Only these are taken; everything else is created again.
pub(super) fn files(manifest: &Manifest) -> impl Iterator<Item = (usize, &EntryRecord)> {
    let has_data = |e: &EntryRecord| matches!(e.kind, EntryKind::File { .. }) && e.stat.size > 0;
    manifest.entries.iter().enumerate().filter(move |(_, entry)| has_data(entry))
}

/// Opens the directories of a stage in which its pristine files lie.
pub(super) struct Directories {
    fs: PathBuf,
    orig: PathBuf,
    in_fs: LastDirectory,
    in_orig: LastDirectory,
}

impl Directories {
    pub fn of(stage: &Stage) -> Self {
        Self {
            fs: stage.dir.join(layout::FS),
            orig: stage.dir.join(layout::ORIG),
            in_fs: LastDirectory::default(),
            in_orig: LastDirectory::default(),
        }
    }

    /// The directory and the name of a file's pristine bytes. `edited` says that the staged file is an edited copy.
    pub fn at<'a>(
        &mut self,
        entry: &'a EntryRecord,
        edited: bool,
    ) -> io::Result<(&OwnedFd, &'a std::ffi::OsStr)> {
        let path = entry.path();
        let parent = path.parent().unwrap_or(Path::new("/"));
        let directory = if edited {
            self.in_orig.at(&self.orig, parent)
        } else {
            self.in_fs.at(&self.fs, parent)
        };
        Ok((directory?, path.file_name().unwrap_or_default()))
    }
}

/// When the inode of a staged file last changed, in seconds and nanoseconds; `None` if the file's attributes are not those
/// with which `entry` was staged.
pub(super) fn changed(
    directory: impl AsFd,
    name: &std::ffi::OsStr,
    entry: &EntryRecord,
) -> io::Result<Option<(i64, i64)>> {
    let is = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let (sec, nsec) = entry.stat.mtime;
    let right = FileType::from_raw_mode(is.st_mode) == FileType::RegularFile
        && is.st_mode & 0o7777 == staged_mode(&entry.stat).as_raw_mode()
        && is.st_uid == rustix::process::geteuid().as_raw()
        && is.st_size as u64 == entry.stat.size
        && (is.st_mtime, is.st_mtime_nsec as i64) == (sec, i64::from(nsec));
    Ok(right.then_some((is.st_ctime, is.st_ctime_nsec as i64)))
}

fn digest(directory: impl AsFd, name: &std::ffi::OsStr) -> io::Result<[u8; 32]> {
    let mut hash = blake3::Hasher::new();
    hash.update_reader(open(directory, name)?)?;
    Ok(*hash.finalize().as_bytes())
}
