//! Builds a stage, bundle by bundle, and publishes it.
//!
//! Everything that depends on all bundles (symbolic links, search paths of libraries, the index) waits for
//! [`StageBuild::publish`]. Until then the stage lies under a temporary name, and is removed when the [`StageBuild`] is
//! dropped.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use pyshm_format::{layout, state};

use crate::archive::Archive;
use crate::bundle::head::Head;
use crate::bundle::{BundleError, Size};
use crate::bundle::{head, reader};
use crate::error::{Error, Result};
use crate::instrument::test_pause::Moment;
use crate::instrument::timeline::Phase;
use crate::instrument::{test_pause, timeline};
use crate::manifest::Manifest;
use crate::manifest::stack::{Stack, StackChange};
use crate::stage::build::files::Files;
use crate::stage::build::incoming::IncomingBundle;
use crate::stage::build::runtime::Runtime;
use crate::stage::build::stream::Stream;
use crate::stage::build::unfinished::Unfinished;
use crate::stage::build::{env_file, foreign_tar, frames, index, stacking, tree};
use crate::stage::build_options::{AfterUse, BuildOptions};
use crate::stage::id::{Identity, StageId};
use crate::stage::info::Info;
use crate::stage::limits::space;
use crate::stage::published::Stage;
use crate::stage::reuse::adopt::{Adoption, Donation};
use crate::stage::reuse::donor::Donor;
use crate::stage::reuse::saved_manifest::SavedManifest;
use crate::stage::reuse::{adopt, saved_manifest};
use crate::stage::staged_file::FileMaker;
use crate::stage::user_dir::UserDir;

/// Name of the directory into which a foreign tar is unpacked first if the tar lies over other bundles. The name is as
/// long as [`layout::FS`], so a path that is short enough for one of the directories is short enough for both.
const ASIDE: &str = "up";

/// The result of unpacking or adopting one bundle.
#[derive(Debug, Clone, Default)]
pub struct Unpacked {
    /// Bytes of the bundle's file; 0 if the bundle was adopted.
    pub bundle_bytes: u64,
    /// Bytes of the bundle's files in the stage.
    pub unpacked_bytes: u64,
    /// A warning about the bundle for the user.
    pub warning: Option<String>,
}

/// A stage that is being built.
pub struct StageBuild {
    dir: Unfinished,
    user_dir: UserDir,
    id: StageId,
    options: BuildOptions,
    stack: Stack,
    /// For each bundle in the stack, its number among the job's bundles.
    numbers: Vec<usize>,
    /// For each of the job's bundles, the donors that have it.
    donors: Vec<Vec<Arc<Donor>>>,
    info: Info,
    /// Space that the bundles that are still to come will take, as far as it is known.
    expected: Size,
}

impl StageBuild {
    /// Starts to build the stage `id` in `user_dir`. `identities` are those of the job's bundles.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] when the stage's directory cannot be created.
    pub fn begin(
        user_dir: &UserDir,
        id: &StageId,
        identities: Vec<Identity>,
        options: BuildOptions,
    ) -> Result<Self> {
        let dir = Unfinished::create(user_dir, id)?;
        let keep = options.after_use == AfterUse::Keep;
        let info = Info { keep, identities, ..Info::default() };
        Ok(Self {
            dir,
            user_dir: user_dir.clone(),
            id: id.clone(),
            options,
            stack: Stack::default(),
            donors: Vec::new(),
            numbers: Vec::new(),
            info,
            expected: Size::default(),
        })
    }

    /// Checks, before any byte arrives, that a stage that takes the space `size` fits. Foreign tars do not say how much
    /// they unpack to, so their members are checked as they arrive.
    ///
    /// # Errors
    /// [`Error::NoSpace`] with the numbers.
    pub fn expect(&mut self, size: Size) -> Result<()> {
        self.expected = size;
        space::check(self.user_dir.root(), size, self.options.reserve)
    }

    /// Checks that the stage still fits with one more bundle, which was not expected and takes the space `size`.
    ///
    /// # Errors
    /// As [`StageBuild::expect`].
    pub fn expect_more(&mut self, size: Size) -> Result<()> {
        self.expect([self.expected, size].into_iter().sum())
    }

    /// Unpacks a bundle whose bytes arrive in order in `chunks` of any size, and returns when everything is written.
    /// After an error nothing more is received. `number` is the bundle's position among the job's bundles.
    ///
    /// # Errors
    /// [`Error::BadBundle`] when something is wrong with the bundle; [`Error::NoSpace`], [`Error::TooLarge`] and
    /// [`Error::CannotWrite`] when something is wrong with the node.
    pub fn unpack(
        &mut self,
        number: usize,
        bundle: &IncomingBundle,
        chunks: mpsc::Receiver<Vec<u8>>,
    ) -> Result<Unpacked> {
        let (name, length) = (bundle.name.as_path(), bundle.length);
        let stream = Stream::new(name, chunks, length);
        let (manifest, plan, warning) = match &bundle.archive {
            Some(archive) => self.unpack_archive(archive, stream)?,
            None => self.unpack_bundle(length, stream)?,
        };
        self.info.bundle_bytes += length;
        self.info.written.push(bundle.archive.as_ref().map(|archive| archive.written));
        let covered = plan.covered.first().filter(|_| manifest.layer.is_none());
        let warning = warning.or_else(|| {
            let covered = &self.info.bundles[*covered?];
            Some(format!("it replaces all that {} brings", covered.display()))
        });
        let warning = warning.map(|text| format!("bundle {}: {text}", name.display()));
        let unpacked_bytes = self.record(number, name, manifest, plan);
        Ok(Unpacked { bundle_bytes: length, unpacked_bytes, warning })
    }

    /// Takes the bundle with this number from a donor instead of unpacking the bundle. Bundles are adopted and unpacked
    /// in their order.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] names the file that could not be linked. Then nothing of the bundle is left, so that the
    /// bundle can be unpacked.
    pub fn adopt(&mut self, number: usize, donation: Donation) -> Result<Unpacked> {
        let bundle = &donation.bundle;
        if self.stack.overlaps(&bundle.manifest.prefixes) {
            // Such a bundle is not adopted: if linking failed, the files of other bundles that this bundle has replaced
            // would have to be restored.
            let cause = io::Error::other("it lies over another bundle");
            return Err(Error::CannotWrite { path: bundle.name.clone(), cause });
        }
        let plan = self.stack.plan(&bundle.manifest);
        let plan = plan.map_err(|reason| Error::bundle(&bundle.name, reason))?;
        let size = donation.size();
        self.expected.bytes = self.expected.bytes.saturating_sub(size.bytes);
        self.expected.entries = self.expected.entries.saturating_sub(size.entries);
        let _busy = timeline::busy(Phase::Write);
        let root = self.dir.path().join(layout::FS);
        let made = self.make_tree(&bundle.name, &bundle.manifest, &plan).map(drop);
        let linked = made.and_then(|()| donation.link(&FileMaker::new(root.clone())));
        if linked.is_err() {
            // An entry that cannot be removed makes unpacking fail later, with its own error.
            tree::remove(&donation.bundle.manifest, &root);
        }
        linked?;
        self.info.bundle_bytes += self.info.identities.get(number).map_or(0, |i| i.size);
        let bundle = *donation.bundle;
        self.info.written.push(bundle.written);
        let unpacked_bytes = self.record(number, &bundle.name, bundle.manifest, plan);
        Ok(Unpacked { unpacked_bytes, ..Unpacked::default() })
    }

    /// Makes the stage inherit the marks of the donors in `adoption`. The leases on the donors last until the stage is
    /// published.
    pub fn inherit(&mut self, adoption: Adoption) {
        self.donors = adoption.into_donors();
    }

    /// Adds a bundle to the stack and the description once its files are written. Returns the bytes of its files.
    fn record(&mut self, number: usize, name: &Path, manifest: Manifest, plan: StackChange) -> u64 {
        let unpacked_bytes = manifest.unpacked_bytes();
        let in_stack = self.info.bundles.len();
        self.info.bundles.push(name.to_path_buf());
        self.info.brought_by.extend(manifest.prefixes.iter().map(|_| in_stack));
        self.info.prefixes.extend(manifest.prefixes.iter().map(|p| p.path().to_path_buf()));
        self.stack.commit(manifest, plan);
        self.numbers.push(number);
        unpacked_bytes
    }

    fn unpack_archive(
        &mut self,
        archive: &Archive,
        mut stream: Stream<'_>,
    ) -> Result<(Manifest, StackChange, Option<String>)> {
        let bundle = stream.bundle;
        self.expected.bytes = self.expected.bytes.saturating_sub(stream.length());
        let room = space::room(self.user_dir.root(), self.expected, self.options.reserve)?;
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
            space::check(self.user_dir.root(), size, self.options.reserve)?;
        }
        self.expected.bytes = self.expected.bytes.saturating_sub(manifest.unpacked_bytes());
        let entries = manifest.entries.len() as u64;
        self.expected.entries = self.expected.entries.saturating_sub(entries);
        let files = self.make_tree(bundle, &manifest, &plan)?;
        frames::unpack(&manifest, &mut stream, &files, self.options.threads())?;
        drop(files);
        Ok((manifest, plan, None))
    }

    /// Removes what the bundle replaces, as `plan` says. Then creates the bundle's directories and the files that have
    /// no data. Returns the bundle's files, for the frames to be written to.
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

    /// Finishes the stage and publishes it.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] names what could not be written. Then nothing of the stage is left.
    pub fn publish(mut self, runtime: &Runtime) -> Result<Stage> {
        test_pause::at(Moment::Publish);
        let _busy = timeline::busy(Phase::Publish);
        let dir = self.dir.path();
        let edited = tree::finish(&self.stack, dir)?;
        let stage = self.user_dir.stage_dir(&self.id);
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            std::fs::write(&path, bytes).map_err(Error::write(&path))
        };
        index::write(&dir.join(layout::INDEX), &index::build(&self.stack, &edited, &stage))?;
        self.write_state(dir)?;
        for (in_stack, number) in self.numbers.iter().enumerate() {
            let identity = self.info.identities.get(*number).cloned().unwrap_or_default();
            self.info.manifests.push(match self.stack.separate(in_stack) {
                Some(manifest) => saved_manifest::write(dir, in_stack, identity, manifest)?,
                None => SavedManifest { identity, ..SavedManifest::default() },
            });
        }
        write(layout::ENVIRONMENT, &env_file::environment(&self.stack, &stage))?;
        runtime.install(dir)?;
        let left = self.stack.bundles();
        self.info.unpacked_bytes = left.iter().map(Manifest::unpacked_bytes).sum();
        self.info.entries = left.iter().map(|m| m.entries.len() as u64).sum();
        self.info.created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.info.write(dir)?;
        test_pause::at(Moment::Publish);
        self.dir.publish(&self.user_dir, &self.id)
    }

    /// Writes the state file in `dir`, with the marks that the stage inherits.
    fn write_state(&self, dir: &Path) -> Result<()> {
        let path = dir.join(layout::STATE);
        let made = std::fs::write(&path, state::header())
            .and_then(|()| File::options().write(true).open(&path))
            .and_then(|file| file.set_len(state::FILE_BYTES as u64));
        made.map_err(Error::write(&path))?;
        let donors = |number: &usize| self.donors.get(*number).map_or(&[][..], Vec::as_slice);
        let donors: Vec<_> = self.numbers.iter().map(donors).collect();
        adopt::inherited(&donors, self.stack.bundles()).apply_in(dir)
    }
}
