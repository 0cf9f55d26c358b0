//! A stage of this node that another one is made from: whether it has a bundle, and has it unchanged.
//!
//! What must stay true: it is held by a lease from the first look on, and nothing in it changes, not even a time. What is
//! not exactly as the bundle's manifest says is not had.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use pyshm_format::{Index, layout};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::instrument::timeline;
use crate::instrument::timeline::Phase;
use crate::manifest::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::stage::reuse::divergence::Divergence;
use crate::stage::reuse::saved_manifest;
use crate::stage::staged_file::{LastDirectory, below, staged_mode};
use crate::stage::{BuildOptions, Identity, Info, Lease, Stage, ownership};

/// A stage that stays while this lives.
pub(in crate::stage) struct Holder {
    pub stage: Stage,
    _lease: Lease,
    /// What it knew at the first look.
    diverged: Divergence,
    info: Info,
    index: Vec<u8>,
    /// When the stage was complete: a file that changed later is compared by its content.
    complete: (i64, i64),
}

/// A bundle that it holds.
pub(in crate::stage) struct Held {
    pub manifest: Manifest,
    /// Its name for messages.
    pub name: PathBuf,
    /// As in [`Info`].
    pub written: Option<(i64, i64)>,
    /// Numbers of the files that stand under `orig/`.
    pub edited: HashSet<usize>,
}

impl Holder {
    /// Holds a stage if it may have one of the bundles, and nothing speaks against it.
    pub fn open(stage: Stage, identities: &[Identity]) -> Option<Self> {
        stage.check().ok()?;
        let info = stage.info().ok()?;
        info.kept.iter().any(|kept| identities.contains(&kept.identity)).then_some(())?;
        let lease = stage.lease().ok()?;
        // Where everything diverged, a stage that is made from it would answer nothing.
        let diverged = Divergence::of(&stage).ok()?;
        (!diverged.is_all()).then_some(())?;
        let path = stage.dir.join(layout::INDEX);
        let complete = ownership::open(&path).ok()?.metadata().ok()?;
        let index = ownership::read(&path).ok()?;
        let complete = (complete.mtime(), complete.mtime_nsec());
        Some(Self { stage, _lease: lease, diverged, info, index, complete })
    }

    /// Whether it was made from the bundle.
    pub fn has(&self, identity: &Identity) -> bool {
        // A bundle that nobody could look at is none.
        let known = !identity.path.as_os_str().is_empty();
        known && self.info.kept.iter().any(|kept| kept.identity == *identity)
    }

    /// What it knows to have diverged; where it was removed by force, what it knew.
    pub fn diverged(&self) -> Divergence {
        Divergence::of(&self.stage).unwrap_or_else(|_| self.diverged.clone())
    }

    /// What a bundle that it has is meant to be, with its number here; `None` where no part of it may be taken.
    pub fn manifest(&self, identity: &Identity) -> Option<(usize, Manifest)> {
        let number = self.info.kept.iter().position(|kept| kept.identity == *identity)?;
        if self.is_overlaid(number) {
            return None;
        }
        Some((number, saved_manifest::read(&self.stage.dir, number, &self.info.kept[number])?))
    }

    /// This bundle, if it is as its manifest says.
    pub fn bundle(
        &self,
        (number, mut manifest): (usize, Manifest),
        options: &BuildOptions,
    ) -> Option<Box<Held>> {
        let edited = self.edited(&manifest)?;
        self.check_directories(&manifest)?;
        let doubtful = self.check_files(&manifest, &edited)?;
        self.check_contents(&mut manifest, &edited, &doubtful, options)?;
        Some(Box::new(Held {
            manifest,
            name: self.info.bundles.get(number)?.clone(),
            written: *self.info.written.get(number)?,
            edited,
        }))
    }

    /// Whether another bundle of the stage lies over it or below it, as layers do: then not all of its files are there,
    /// and not all that are there are its own.
    fn is_overlaid(&self, number: usize) -> bool {
        let prefixes = || self.info.prefixes.iter().zip(&self.info.brought_by);
        prefixes().filter(|(_, by)| **by == number).any(|(mine, _)| {
            prefixes().any(|(other, by)| {
                *by != number && (mine.starts_with(other) || other.starts_with(mine))
            })
        })
    }

    /// Numbers of the files that were edited. The index says so, as an edited file looks like the original.
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

    /// Whether the directories are directories: what lies in them is found by name.
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

    /// Whether all files are there as they were staged; which ones have to be read to know.
    fn check_files(&self, manifest: &Manifest, edited: &HashSet<usize>) -> Option<Vec<usize>> {
        let mut directories = Directories::of(&self.stage);
        let mut doubtful = Vec::new();
        for (number, entry) in files(manifest) {
            let EntryKind::File { digest, .. } = entry.kind else { continue };
            let (directory, name) = directories.at(entry, edited.contains(&number)).ok()?;
            let changed = changed(directory, name, entry).ok()??;
            // A link made or removed since changes this time as well, and another stage may have done that.
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

    /// Whether the contents of the `doubtful` files are those of the manifest. Where that does not know them, as for a
    /// tar that others made, they are put into it: the next stage that is made from the new one will ask for them.
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

/// The files that have data, with their numbers; the others are made anew.
pub(in crate::stage) fn files(manifest: &Manifest) -> impl Iterator<Item = (usize, &EntryRecord)> {
    let has_data = |e: &EntryRecord| matches!(e.kind, EntryKind::File { .. }) && e.stat.size > 0;
    manifest.entries.iter().enumerate().filter(move |(_, entry)| has_data(entry))
}

/// Where a stage's pristine files lie.
pub(in crate::stage) struct Directories {
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

    /// The directory and the name of a file.
    pub fn at<'a>(
        &mut self,
        entry: &'a EntryRecord,
        edited: bool,
    ) -> io::Result<(&OwnedFd, &'a std::ffi::OsStr)> {
        let path = entry.path();
        let parent = path.parent().unwrap_or(Path::new("/"));
        let directory = match edited {
            true => self.in_orig.at(&self.orig, parent),
            false => self.in_fs.at(&self.fs, parent),
        };
        Ok((directory?, path.file_name().unwrap_or_default()))
    }
}

/// When the inode of a staged file changed last; `None` where it is not as `entry` was staged.
pub(in crate::stage) fn changed(
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

/// Opens a file of ours without a trace in its times.
pub(in crate::stage) fn open(directory: impl AsFd, name: &std::ffi::OsStr) -> io::Result<File> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOATIME | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?.into())
}

fn digest(directory: impl AsFd, name: &std::ffi::OsStr) -> io::Result<[u8; 32]> {
    let mut hash = blake3::Hasher::new();
    hash.update_reader(open(directory, name)?)?;
    Ok(*hash.finalize().as_bytes())
}
