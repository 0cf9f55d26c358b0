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
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyshm_format::{Index, layout};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::divergence::Divergence;
use super::files::{LastDirectory, Maker, below, file_times, staged_mode};
use super::timeline::{self, Phase};
use super::{BuildOptions, Identity, Info, Lease, Place, Stage, kept, pause, trust};
use crate::bundle::Manifest;
use crate::bundle::manifest::{EntryKind, EntryRecord};
use crate::bundle::reader::Size;
use crate::error::{Error, Result};

/// Of each bundle that was named, where it comes from.
#[derive(Default)]
pub struct Adoption(Vec<Origin>);

enum Origin {
    /// From its file.
    File,
    /// From a stage of this node.
    Stage(Box<Adoptable>),
    /// It is not needed, or was taken already.
    Nowhere,
}

/// A bundle that a stage of this node holds unchanged.
pub struct Adoptable {
    source: Arc<Source>,
    /// This one and all others that have it: each may know something that diverged.
    pub(super) holders: Vec<Arc<Source>>,
    pub(super) manifest: Manifest,
    /// Its name for messages.
    pub(super) name: PathBuf,
    /// As in [`Info`].
    pub(super) written: Option<(i64, i64)>,
    /// Numbers of the files that stand under `orig/`.
    edited: HashSet<usize>,
}

/// A stage that is taken from, and stays while this lives.
pub(super) struct Source {
    pub stage: Stage,
    _lease: Lease,
    info: Info,
    index: Vec<u8>,
    /// When the stage was complete: a file that changed later is compared by its content.
    complete: (i64, i64),
}

impl Adoption {
    /// Looks for the bundles of `options` in all stages of `place`. Of those that it finds the ones that `options` do not
    /// want are left out; whether others are wanted their files say.
    #[must_use]
    pub fn find(place: &Place, options: &BuildOptions) -> Self {
        let identities = &options.identities;
        let stages = place.stages().unwrap_or_default().into_iter();
        let sources: Vec<Arc<Source>> =
            stages.filter_map(|stage| Source::open(stage, identities).map(Arc::new)).collect();
        let origin = |identity: &Identity| {
            let holders: Vec<_> = sources.iter().filter(|s| s.has(identity)).cloned().collect();
            let found =
                holders.iter().find_map(|source| source.bundle(identity, options, &holders));
            found.unwrap_or(Origin::File)
        };
        Self(identities.iter().map(origin).collect())
    }

    /// Whether the bundle with this number has to be read.
    #[must_use]
    pub fn needs(&self, number: usize) -> bool {
        matches!(self.0.get(number), Some(Origin::File))
    }

    /// Whether it is taken from a stage.
    #[must_use]
    pub fn has(&self, number: usize) -> bool {
        matches!(self.0.get(number), Some(Origin::Stage(_)))
    }

    /// Whether nothing is taken from any stage.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !(0..self.0.len()).any(|number| self.has(number))
    }

    /// Hands out the bundle with this number.
    pub fn take(&mut self, number: usize) -> Option<Adoptable> {
        match std::mem::replace(self.0.get_mut(number)?, Origin::Nowhere) {
            Origin::Stage(bundle) => Some(*bundle),
            origin => {
                self.0[number] = origin;
                None
            }
        }
    }

    /// What is taken from stages needs so much nevertheless.
    #[must_use]
    pub fn size(&self) -> Size {
        let sizes = self.0.iter().filter_map(|origin| match origin {
            Origin::Stage(bundle) => Some(bundle.size()),
            _ => None,
        });
        sizes.sum()
    }

    /// The bundle with this number, which was handed out, could not be taken: it has to be read.
    pub fn miss(&mut self, number: usize) {
        if let Some(origin) = self.0.get_mut(number) {
            *origin = Origin::File;
        }
    }

    /// Takes nothing from any stage after all.
    pub fn give_up(&mut self) {
        for origin in &mut self.0 {
            if matches!(origin, Origin::Stage(_)) {
                *origin = Origin::File;
            }
        }
    }
}

impl Source {
    /// Holds a stage if it may have one of the bundles, and nothing speaks against it.
    fn open(stage: Stage, identities: &[Identity]) -> Option<Self> {
        stage.check().ok()?;
        let info = stage.info().ok()?;
        info.kept.iter().any(|kept| identities.contains(&kept.identity)).then_some(())?;
        let lease = stage.lease().ok()?;
        // Where everything diverged, a stage that is made from it would answer nothing.
        (!Divergence::of(&stage).ok()?.is_all()).then_some(())?;
        let path = stage.dir.join(layout::INDEX);
        let complete = trust::open(&path).ok()?.metadata().ok()?;
        let index = trust::read(&path).ok()?;
        let complete = (complete.mtime(), complete.mtime_nsec());
        Some(Self { stage, _lease: lease, info, index, complete })
    }

    fn has(&self, identity: &Identity) -> bool {
        // A bundle that nobody could look at is none.
        let known = !identity.path.as_os_str().is_empty();
        known && self.info.kept.iter().any(|kept| kept.identity == *identity)
    }

    /// The bundle, if it is here and as its manifest says.
    fn bundle(
        self: &Arc<Self>,
        identity: &Identity,
        options: &BuildOptions,
        holders: &[Arc<Self>],
    ) -> Option<Origin> {
        let number = self.info.kept.iter().position(|kept| kept.identity == *identity)?;
        let mut manifest = kept::read(&self.stage.dir, number, &self.info.kept[number])?;
        if self.is_overlaid(number) {
            return None;
        }
        if !options.wants(&manifest.prefixes) {
            return Some(Origin::Nowhere);
        }
        let edited = self.edited(&manifest)?;
        self.check_directories(&manifest)?;
        let doubtful = self.check_files(&manifest, &edited)?;
        self.check_contents(&mut manifest, &edited, &doubtful, options)?;
        Some(Origin::Stage(Box::new(Adoptable {
            source: self.clone(),
            holders: holders.to_vec(),
            manifest,
            name: self.info.bundles.get(number)?.clone(),
            written: *self.info.written.get(number)?,
            edited,
        })))
    }

    /// Whether another bundle of the stage brought files below the same prefix: then not all files that lie there are
    /// this one's.
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

impl Adoptable {
    /// The stage that it is taken from.
    #[must_use]
    pub fn from(&self) -> &Path {
        &self.source.stage.dir
    }

    /// What it takes although its files are there: names, and libraries that are edited for the new stage.
    #[must_use]
    pub fn size(&self) -> Size {
        let edited = self
            .manifest
            .entries
            .iter()
            .filter(|entry| matches!(entry.kind, EntryKind::File { runpath: Some(_), .. }));
        Size {
            bytes: edited.map(|entry| entry.stat.size.next_multiple_of(4096)).sum(),
            entries: self.manifest.entries.len() as u64,
            at_least: false,
        }
    }

    /// Links the files into `maker`'s root, where the directories are. What cannot be linked is copied.
    pub(super) fn link(&self, maker: &Maker) -> Result<()> {
        let mut from = Directories::of(&self.source.stage);
        let (mut to, mut made) = (LastDirectory::default(), LastDirectory::default());
        let mut link = |number: usize, entry: &EntryRecord| -> io::Result<()> {
            let (source, name) = from.at(entry, self.edited.contains(&number))?;
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
        for (number, entry) in files(&self.manifest) {
            pause::at("adopt");
            link(number, entry).map_err(|e| Error::write(&below(maker.root(), entry.path()))(e))?;
        }
        Ok(())
    }
}

/// What the stages that hold bundles know to have diverged, but for what comes from a bundle's file now: that is newer.
/// `holders` are those of each of `manifests`, none where it comes from a file.
pub(super) fn inherited(
    holders: &[Vec<Arc<Source>>],
    manifests: &[Manifest],
) -> Result<Divergence> {
    let mut all = Divergence::default();
    let mut asked: HashSet<&Path> = HashSet::new();
    for source in holders.iter().flatten().filter(|s| asked.insert(&s.stage.dir)) {
        let mut known = Divergence::of(&source.stage)?;
        if !known.is_empty() {
            let holds = |holders: &[Arc<Source>]| holders.iter().any(|s| Arc::ptr_eq(s, source));
            let others = holders.iter().zip(manifests).filter(|(holders, _)| !holds(holders));
            for entry in others.flat_map(|(_, manifest)| &manifest.entries) {
                known.forget(&entry.path);
            }
        }
        all.join(&known);
    }
    Ok(all)
}

/// The files that have data, with their numbers; the others are made anew.
fn files(manifest: &Manifest) -> impl Iterator<Item = (usize, &EntryRecord)> {
    let has_data = |e: &EntryRecord| matches!(e.kind, EntryKind::File { .. }) && e.stat.size > 0;
    manifest.entries.iter().enumerate().filter(move |(_, entry)| has_data(entry))
}

/// Where a stage's pristine files lie.
struct Directories {
    fs: PathBuf,
    orig: PathBuf,
    in_fs: LastDirectory,
    in_orig: LastDirectory,
}

impl Directories {
    fn of(stage: &Stage) -> Self {
        Self {
            fs: stage.dir.join(layout::FS),
            orig: stage.dir.join(layout::ORIG),
            in_fs: LastDirectory::default(),
            in_orig: LastDirectory::default(),
        }
    }

    /// The directory and the name of a file.
    fn at<'a>(
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
fn changed(
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
fn open(directory: impl AsFd, name: &std::ffi::OsStr) -> io::Result<File> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOATIME | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?.into())
}

fn digest(directory: impl AsFd, name: &std::ffi::OsStr) -> io::Result<[u8; 32]> {
    let mut hash = blake3::Hasher::new();
    hash.update_reader(open(directory, name)?)?;
    Ok(*hash.finalize().as_bytes())
}
