//! Builds a stage from bundles whose bytes arrive in order, and publishes it.
//!
//! The calling thread cuts what arrives into frames; others decompress, check and write them. What needs to know
//! all bundles (symbolic links, search paths of libraries, the index) waits for [`StageBuild::publish`]. Until then
//! everything stands under a temporary name that goes away with the [`StageBuild`].
#![forbid(unsafe_code)]

pub mod env_file;
mod files;
mod foreign_tar;
mod index;
pub mod runtime;
mod stacking;
mod stream;
mod tree;
pub mod unfinished;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use pyshm_format::{layout, state};

use crate::archive::Archive;
use crate::bundle::Size;
use crate::bundle::head::Head;
use crate::bundle::{BundleError, head, reader};
use crate::error::{Error, Result};
use crate::instrument::timeline::Phase;
use crate::instrument::{test_pause, timeline};
use crate::manifest::frame::Decoder;
use crate::manifest::stack::{Stack, StackChange};
use crate::manifest::{FrameRecord, Manifest};
use crate::stage::build::files::Files;
use crate::stage::build::stream::Stream;
use crate::stage::build::unfinished::Unfinished;
use crate::stage::limits::space;
use crate::stage::reuse::adopt::{Adoptable, Adoption};
use crate::stage::reuse::donor::Holder;
use crate::stage::reuse::saved_manifest::Kept;
use crate::stage::reuse::{adopt, saved_manifest};
use crate::stage::staged_file::{LastDirectory, Maker};
use crate::stage::{BuildOptions, Info, Place, Runtime, Stage, StageId};

/// Where a tar is unpacked that may lie over other bundles: as long as [`layout::FS`], so that the same paths are possible.
const ASIDE: &str = "up";

/// What one bundle brought.
#[derive(Debug, Clone, Default)]
pub struct Unpacked {
    /// Bytes of the bundle.
    pub bundle_bytes: u64,
    /// Bytes that its files take.
    pub unpacked_bytes: u64,
    /// Number of paths.
    pub entries: u64,
    /// What people should know of it.
    pub warning: Option<String>,
}

/// A stage that is being built.
pub struct StageBuild {
    dir: Unfinished,
    place: Place,
    id: StageId,
    options: BuildOptions,
    stack: Stack,
    /// Of each bundle in the stack, its number among the bundles that were named.
    numbers: Vec<usize>,
    /// Of each bundle that was named, the stages that have it.
    holders: Vec<Vec<Arc<Holder>>>,
    info: Info,
    /// What is still to come, as far as it is known.
    expected: Size,
}

impl StageBuild {
    /// Starts to build the stage `id` in `place`.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] when its directory cannot be made.
    pub fn begin(place: &Place, id: &StageId, options: BuildOptions) -> Result<Self> {
        let dir = Unfinished::create(place, id)?;
        let identities = options.identities.clone();
        let info = Info { keep: options.keep, identities, ..Info::default() };
        Ok(Self {
            dir,
            place: place.clone(),
            id: id.clone(),
            options,
            stack: Stack::default(),
            holders: Vec::new(),
            numbers: Vec::new(),
            info,
            expected: Size::default(),
        })
    }

    /// Checks that what comes fits as far as it is known, before its first byte. What the members of others' tars take
    /// is checked as they come.
    ///
    /// # Errors
    /// [`Error::NoSpace`] with the numbers.
    pub fn expect(&mut self, size: Size) -> Result<()> {
        self.expected = size;
        space::check(self.place.root(), size, self.options.reserve)
    }

    /// The same for a bundle that comes although it was not expected.
    ///
    /// # Errors
    /// As [`StageBuild::expect`].
    pub fn expect_more(&mut self, size: Size) -> Result<()> {
        self.expect([self.expected, size].into_iter().sum())
    }

    /// The temporary directory it is built in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Unpacks the bundle whose bytes, `length` in all, arrive in order in `chunks` of any size, and returns when
    /// all is written. After an error nothing more is received. `number` is the bundle's among those of the options,
    /// `bundle` the name for messages; `archive` says that it is a tar that others made.
    ///
    /// # Errors
    /// [`Error::BadBundle`] for what is wrong with the bundle, [`Error::NoSpace`] and [`Error::CannotWrite`] for
    /// what is wrong with the node.
    pub fn unpack(
        &mut self,
        number: usize,
        bundle: &Path,
        archive: Option<&Archive>,
        length: u64,
        chunks: mpsc::Receiver<Vec<u8>>,
    ) -> Result<Unpacked> {
        let stream = Stream::new(bundle, chunks, length);
        let (manifest, plan, warning) = match archive {
            Some(archive) => self.unpack_archive(archive, stream)?,
            None => self.unpack_bundle(length, stream)?,
        };
        self.info.bundle_bytes += length;
        self.info.written.push(archive.map(|archive| archive.written));
        let covered = plan.covered.first().filter(|_| manifest.layer.is_none());
        let warning = warning.or_else(|| {
            let covered = &self.info.bundles[*covered?];
            Some(format!("it replaces all that {} brings", covered.display()))
        });
        let warning = warning.map(|text| format!("bundle {}: {text}", bundle.display()));
        let unpacked = self.record(number, bundle, manifest, plan);
        Ok(Unpacked { bundle_bytes: length, warning, ..unpacked })
    }

    /// Takes the bundle with this number from another stage of this node instead, in its turn.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] names what could not be linked. Nothing of the bundle is left then, so that it can be
    /// unpacked.
    pub fn adopt(&mut self, number: usize, from: Adoptable) -> Result<Unpacked> {
        let bundle = &from.bundle;
        if self.stack.overlaps(&bundle.manifest.prefixes) {
            // It would have to be undone if it failed, with what it removes of the others.
            let cause = io::Error::other("it lies over another bundle");
            return Err(Error::CannotWrite { path: bundle.name.clone(), cause });
        }
        let plan = self.stack.plan(&bundle.manifest);
        let plan = plan.map_err(|reason| Error::bundle(&bundle.name, reason))?;
        let size = from.size();
        self.expected.bytes = self.expected.bytes.saturating_sub(size.bytes);
        self.expected.entries = self.expected.entries.saturating_sub(size.entries);
        let _busy = timeline::busy(Phase::Write);
        let root = self.dir.path().join(layout::FS);
        let made = self.make_tree(&bundle.name, &bundle.manifest, &plan).map(drop);
        let linked = made.and_then(|()| from.link(&Maker::new(root.clone())));
        if linked.is_err() {
            // What stays is in the way of the unpacking, which says so.
            tree::remove(&from.bundle.manifest, &root);
        }
        linked?;
        self.info.bundle_bytes += self.options.identities.get(number).map_or(0, |i| i.size);
        self.info.written.push(from.bundle.written);
        Ok(self.record(number, &from.bundle.name, from.bundle.manifest, plan))
    }

    /// What the stages in which `adoption` was found know to have diverged goes into this one. They are held until it is
    /// published.
    pub fn inherit(&mut self, adoption: Adoption) {
        self.holders = adoption.into_holders();
    }

    fn record(
        &mut self,
        number: usize,
        bundle: &Path,
        manifest: Manifest,
        plan: StackChange,
    ) -> Unpacked {
        let (unpacked_bytes, entries) = (manifest.unpacked_bytes(), manifest.entries.len() as u64);
        let place = self.info.bundles.len();
        self.info.bundles.push(bundle.to_path_buf());
        self.info.brought_by.extend(manifest.prefixes.iter().map(|_| place));
        self.info.prefixes.extend(manifest.prefixes.iter().map(|p| p.path().to_path_buf()));
        self.stack.commit(manifest, plan);
        self.numbers.push(number);
        Unpacked { unpacked_bytes, entries, ..Unpacked::default() }
    }

    fn unpack_archive(
        &mut self,
        archive: &Archive,
        mut stream: Stream<'_>,
    ) -> Result<(Manifest, StackChange, Option<String>)> {
        let bundle = stream.bundle;
        self.expected.bytes = self.expected.bytes.saturating_sub(stream.length());
        let room = space::room(self.place.root(), self.expected, self.options.reserve)?;
        let (fs, aside) = (self.dir.path().join(layout::FS), self.dir.path().join(ASIDE));
        let lies_over = self.stack.overlaps(std::slice::from_ref(&archive.placement.prefix));
        let to = if lies_over { &aside } else { &fs };
        let (manifest, warning) =
            foreign_tar::unpack(bundle, archive, &mut stream, room, to.clone())?;
        let plan = self.stack.plan(&manifest).map_err(|reason| Error::bundle(bundle, reason))?;
        if lies_over {
            stacking::make_way(&plan, &manifest, &fs)?;
            tree::make_directories(&manifest, &fs)?;
            stacking::move_in(&manifest, &aside, &fs)?;
        }
        Ok((manifest, plan, warning))
    }

    fn unpack_bundle(
        &mut self,
        length: u64,
        mut stream: Stream<'_>,
    ) -> Result<(Manifest, StackChange, Option<String>)> {
        let bundle = stream.bundle;
        let mut start = Vec::new();
        stream.append(&mut start, head::MAX_BYTES.min(length as usize))?;
        let refused = |reason: BundleError| Error::bundle(bundle, reason);
        let head = Head::parse(&start).map_err(refused)?;
        let end = Head::len(head.codec) + head.packed as usize;
        let missing =
            end.checked_sub(start.len()).ok_or_else(|| refused(BundleError::DamagedManifest))?;
        stream.append(&mut start, missing)?;
        let manifest = reader::manifest_of(&head, &start).map_err(refused)?;
        drop(start);
        let plan = self.stack.plan(&manifest).map_err(|why| Error::bundle(bundle, why))?;
        let copied = stacking::copied_bytes(&plan, &manifest, &self.dir.path().join(layout::FS));
        if copied > 0 {
            let more = Size { bytes: copied, ..Size::default() };
            let size = [self.expected, more].into_iter().sum();
            space::check(self.place.root(), size, self.options.reserve)?;
        }
        self.expected.bytes = self.expected.bytes.saturating_sub(manifest.unpacked_bytes());
        let entries = manifest.entries.len() as u64;
        self.expected.entries = self.expected.entries.saturating_sub(entries);
        let files = self.make_tree(bundle, &manifest, &plan)?;
        unpack_frames(&manifest, &mut stream, &files, self.options.threads())?;
        drop(files);
        Ok((manifest, plan, None))
    }

    /// Makes what is there before any data.
    fn make_tree<'a>(
        &self,
        bundle: &Path,
        manifest: &'a Manifest,
        plan: &StackChange,
    ) -> Result<Files<'a>> {
        let root = self.dir.path().join(layout::FS);
        for entry in &manifest.entries {
            tree::refuse_long(bundle, &root, entry.path())?;
        }
        stacking::make_way(plan, manifest, &root)?;
        tree::make_directories(manifest, &root)?;
        let files = Files::new(manifest, root);
        tree::make_empty_files(manifest, &files)?;
        Ok(files)
    }

    /// Finishes the stage and gives it its name.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] names what could not be written; nothing is left then.
    pub fn publish(mut self, runtime: &Runtime) -> Result<Stage> {
        test_pause::at("publish");
        let _busy = timeline::busy(Phase::Publish);
        let dir = self.dir.path();
        let edited = tree::finish(&self.stack, dir)?;
        let stage = self.place.stage_dir(&self.id);
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            std::fs::write(&path, bytes).map_err(Error::write(&path))
        };
        index::write(&dir.join(layout::INDEX), &index::build(&self.stack, &edited, &stage))?;
        write(layout::STATE, &state::header())?;
        let state = dir.join(layout::STATE);
        let file =
            std::fs::OpenOptions::new().write(true).open(&state).map_err(Error::write(&state))?;
        file.set_len(state::FILE_BYTES as u64).map_err(Error::write(&state))?;
        let held = |number: &usize| self.holders.get(*number).map_or(&[][..], Vec::as_slice);
        let holders: Vec<_> = self.numbers.iter().map(held).collect();
        adopt::inherited(&holders, self.stack.bundles()).apply_in(dir)?;
        for (place, number) in self.numbers.iter().enumerate() {
            let identity = self.options.identities.get(*number).cloned().unwrap_or_default();
            self.info.kept.push(match self.stack.separate(place) {
                Some(manifest) => saved_manifest::write(dir, place, identity, manifest)?,
                None => Kept { identity, ..Kept::default() },
            });
        }
        write(layout::ENVIRONMENT, &env_file::environment(&self.stack, &stage))?;
        runtime.install(dir)?;
        let left = self.stack.bundles();
        self.info.unpacked_bytes = left.iter().map(Manifest::unpacked_bytes).sum();
        self.info.entries = left.iter().map(|m| m.entries.len() as u64).sum();
        self.info.created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.info.write(dir)?;
        test_pause::at("publish");
        self.dir.publish(&self.place, &self.id)
    }
}

/// A frame on its way to the thread that writes it.
struct Frame {
    record: FrameRecord,
    /// Where its data begins in the tar stream.
    start: u64,
    packed: Vec<u8>,
}

/// What the writing threads share.
struct Writers<'a> {
    manifest: &'a Manifest,
    bundle: &'a Path,
    files: &'a Files<'a>,
    frames: Mutex<mpsc::Receiver<Frame>>,
    /// Buffers of written frames, to be filled again: fresh memory costs a page fault each 4 kB.
    spare: Mutex<Vec<Vec<u8>>>,
    failed: Mutex<Option<Error>>,
}

impl Writers<'_> {
    /// One thread: writes frames until there are no more. After a failure it goes on receiving, so that the feeder
    /// never waits for a reader that is gone.
    fn run(&self) {
        if let Err(error) = self.write_frames() {
            if let Ok(mut failed) = self.failed.lock() {
                failed.get_or_insert(error);
            }
            while self.next().is_some() {}
        }
    }

    /// The lock is held while waiting: one thread waits for the channel, the others for the lock.
    fn next(&self) -> Option<Frame> {
        self.frames.lock().ok()?.recv().ok()
    }

    fn write_frames(&self) -> Result<()> {
        let damaged = |why: String| {
            Error::bundle(self.bundle, format!("it is damaged ({why}): make it anew"))
        };
        let mut decoder =
            Decoder::new(self.manifest.codec).map_err(Error::system("prepare to decompress"))?;
        let mut directory = LastDirectory::default();
        while let Some(frame) = self.next() {
            test_pause::at("decode");
            let busy = timeline::busy(Phase::Decode);
            let raw = decoder
                .decode(&frame.packed, frame.record.raw as usize)
                .map_err(|e| damaged(e.to_string()))?;
            if *blake3::hash(raw).as_bytes() != frame.record.digest {
                return Err(damaged("a digest differs".into()));
            }
            drop(busy);
            test_pause::at("write");
            let _busy = timeline::busy(Phase::Write);
            self.files.write(frame.start, raw, &mut directory)?;
            if let Ok(mut spare) = self.spare.lock() {
                spare.push(frame.packed);
            }
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.failed.lock().is_ok_and(|failed| failed.is_some())
    }
}

fn unpack_frames(
    manifest: &Manifest,
    stream: &mut Stream<'_>,
    files: &Files<'_>,
    threads: usize,
) -> Result<()> {
    // Short: each frame that waits is memory.
    let (to_writers, frames) = mpsc::sync_channel::<Frame>(2);
    let bundle = stream.bundle;
    let writers = Writers {
        manifest,
        bundle,
        files,
        frames: Mutex::new(frames),
        spare: Mutex::default(),
        failed: Mutex::default(),
    };
    let fed = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| writers.run());
        }
        let mut start = 0;
        for record in &manifest.frames {
            if writers.has_failed() {
                break;
            }
            let mut packed =
                writers.spare.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default();
            packed.clear();
            stream.append(&mut packed, record.packed as usize)?;
            // It cannot be disconnected while the writers live, and they end after this sender.
            let _ = to_writers.send(Frame { record: *record, start, packed });
            start += u64::from(record.raw);
        }
        drop(to_writers);
        Ok(())
    });
    match writers.failed.into_inner().ok().flatten() {
        Some(error) => Err(error),
        None => fed,
    }
}
