//! Opens donors and checks their bundles: a new stage takes a bundle only if the donor's copy is unchanged.
//!
//! Invariants:
//! - A lease on the donor is taken before its bundles are examined.
//! - Nothing in the donor changes, not even a time.
//! - A bundle is taken only if it is exactly as its manifest says.
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

/// A stage that donates bundles. Nobody removes the stage while this value lives.
pub(in crate::stage) struct Donor {
    pub stage: Stage,
    _lease: Lease,
    /// The donor's marks when it was opened.
    diverged: Divergence,
    info: Info,
    index: Vec<u8>,
    /// When the stage was complete, in seconds and nanoseconds. A file whose inode changed later is compared by its
    /// content.
    complete: (i64, i64),
}

/// An unchanged bundle of a donor.
pub(in crate::stage) struct DonatedBundle {
    pub manifest: Manifest,
    /// The bundle's name for messages.
    pub name: PathBuf,
    /// If the bundle is a foreign tar, when its file was written, as in [`Info`].
    pub written: Option<(i64, i64)>,
    /// Numbers of the files whose pristine bytes lie under `orig/`.
    pub edited: HashSet<usize>,
}

impl Donor {
    /// Takes a lease on `stage` if the stage may have one of the bundles to donate; otherwise returns `None`.
    pub fn open(stage: Stage, identities: &[Identity]) -> Option<Self> {
        stage.check().ok()?;
        let info = stage.info().ok()?;
        info.manifests.iter().any(|saved| identities.contains(&saved.identity)).then_some(())?;
        let lease = stage.lease().ok()?;
        // If everything has diverged in the donor, a stage that inherits its marks would not answer for any path
        // either.
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
        // A bundle whose file could not be examined has an empty identity. No donor has such a bundle, even if an empty
        // identity is saved in the donor.
        let known = !identity.path.as_os_str().is_empty();
        known && self.info.manifests.iter().any(|saved| saved.identity == *identity)
    }

    /// Returns the donor's marks. If the donor was removed by force meanwhile, returns the marks that the donor had
    /// when it was opened.
    pub fn diverged(&self) -> Divergence {
        Divergence::of(&self.stage).unwrap_or_else(|_| self.diverged.clone())
    }

    /// Returns the bundle's number in this donor and its saved manifest; `None` if the bundle cannot be taken.
    pub fn manifest(&self, identity: &Identity) -> Option<(usize, Manifest)> {
        let number = self.info.manifests.iter().position(|saved| saved.identity == *identity)?;
        if self.is_overlaid(number) {
            return None;
        }
        let saved = &self.info.manifests[number];
        Some((number, saved_manifest::read(&self.stage.dir, number, saved)?))
    }

    /// Checks the bundle with this number and manifest, and returns it; `None` if the bundle is not exactly as the
    /// manifest says.
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

    /// Whether another bundle of the stage lies over this one or below it, as layers do. Then some files of this bundle
    /// are missing, and some files below its prefixes belong to the other bundle.
    fn is_overlaid(&self, number: usize) -> bool {
        let prefixes = || self.info.prefixes.iter().zip(&self.info.brought_by);
        prefixes().filter(|(_, by)| **by == number).any(|(mine, _)| {
            prefixes().any(|(other, by)| {
                *by != number && (mine.starts_with(other) || other.starts_with(mine))
            })
        })
    }

    /// Finds the numbers of the edited files. The index tells which files are edited; their size and times do not,
    /// since an edited file has the size and times of its original.
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

    /// Checks that every directory of the bundle is still a directory and belongs to this user, since files are found
    /// by name.
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
            // If another stage has made or removed a hard link to the file since, this time has changed as well.
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

    /// Checks the contents of the `doubtful` files. A digest that the manifest lacks, as for a foreign tar, is added,
    /// so that a later stage can check the file by it.
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

/// The files that have data, with their numbers. Only these files are taken; everything else is created again.
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

/// Finds when the inode of a staged file last changed, in seconds and nanoseconds; `None` if the file's attributes are
/// not those with which `entry` was staged.
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
