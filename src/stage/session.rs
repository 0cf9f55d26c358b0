//! Makes one stage on this node, in steps that contain all rules of staging.
//!
//! A driver takes the steps in this order and supplies the bundles' bytes. There are two drivers.
//! [`stage_here`](crate::stage::stage_here) reads the bytes from files. `bcast` receives them over MPI. After each step
//! of `bcast`, the nodes tell each other their results and decide together how to go on.
//!
//! ```text
//! open       find the stage; otherwise find donors of its bundles, and collect garbage
//! start      begin to build
//! expect     check the space; if there is too little, release the donors and collect garbage
//! adopt      for each bundle in turn: take the bundle from its donor if it has one,
//! unpack     otherwise unpack the bytes that the driver supplies
//! publish    add the donors' marks to the stage, publish it, and remove donors that it replaces
//! ```
//!
//! Invariants:
//! - A donor is found before garbage is collected, and the lease on the donor lasts until the new stage is published.
//! - If the session is dropped or abandoned after an error, nothing of the stage is left.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::mpsc;

use crate::bundle::Size;
use crate::error::{Error, Result};
use crate::manifest::prefix::PrefixRecord;
use crate::stage::build::{IncomingBundle, Runtime, StageBuild, Unpacked};
use crate::stage::build_options::BuildOptions;
use crate::stage::gc::collect_garbage;
use crate::stage::id::{Identity, StageId};
use crate::stage::published::Stage;
use crate::stage::reuse::adopt::Adoption;
use crate::stage::user_dir::UserDir;

/// The staging of one job's bundles on this node.
pub struct StagingSession {
    user_dir: UserDir,
    id: StageId,
    options: BuildOptions,
    identities: Vec<Identity>,
    /// Where the bundles come from.
    adoption: Adoption,
    state: State,
    totals: Totals,
}

enum State {
    /// The stage existed already.
    Found(Stage),
    /// Nothing is written yet.
    Opened,
    /// The stage is being built.
    Building(Box<StageBuild>),
    /// The stage is published, or given up.
    Ended,
}

/// Totals over the bundles of a stage.
#[derive(Debug, Default)]
pub struct Totals {
    /// Bytes of the bundles that were unpacked.
    pub bundle_bytes: u64,
    /// Bytes of the stage's files.
    pub unpacked_bytes: u64,
    /// Bytes of the files that were taken from donors.
    pub adopted_bytes: u64,
    /// The donors' directories, each once.
    pub donors: Vec<PathBuf>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// The result of a check for space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// The stage fits.
    Enough,
    /// The stage did not fit beside its donors. The donors are released, so more bundles have to be unpacked than
    /// before.
    DonorsReleased,
}

/// The result of an attempt to take a bundle from a donor.
#[derive(Debug)]
pub enum Adopted {
    /// No donor was found for the bundle.
    NoDonor,
    /// The bundle is in the stage.
    Taken,
    /// A file could not be linked, so that the bundle has to be unpacked after all.
    Failed(FailedAdoption),
}

/// Why a bundle could not be taken from its donor.
#[derive(Debug)]
pub struct FailedAdoption {
    /// The donor's directory.
    pub donor: PathBuf,
    /// The reason.
    pub error: Error,
}

impl StagingSession {
    /// Looks for the stage `id`. If there is none, calls `identities` and looks for donors of the bundles.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when something else has the stage's name, [`Error::NoInput`] when `identities` or the
    /// user's directory cannot be read, [`Error::CannotWrite`] when garbage cannot be removed.
    pub fn open(
        user_dir: &UserDir,
        id: &StageId,
        options: BuildOptions,
        identities: impl FnOnce() -> Result<Vec<Identity>>,
    ) -> Result<Self> {
        let mut session = Self {
            user_dir: user_dir.clone(),
            id: id.clone(),
            options,
            identities: Vec::new(),
            adoption: Adoption::default(),
            state: State::Opened,
            totals: Totals::default(),
        };
        if let Some(stage) = Stage::find(user_dir, id)?.filter(|stage| !stage.is_hollow()) {
            session.state = State::Found(stage);
            return Ok(session);
        }
        session.identities = identities()?;
        // Donors are found before garbage is collected, since a donor with a lease on it is not collected.
        session.adoption = Adoption::find(user_dir, &session.identities, &session.options);
        collect_garbage(user_dir, &session.identities)?;
        Ok(session)
    }

    /// The stage, if it existed already.
    #[must_use]
    pub fn found(&self) -> Option<&Stage> {
        match &self.state {
            State::Found(stage) => Some(stage),
            _ => None,
        }
    }

    /// Whether the bundle with this number has to be unpacked.
    #[must_use]
    pub fn needs(&self, number: usize) -> bool {
        self.adoption.needs_file(number)
    }

    /// Whether the bundle with this number comes from a donor.
    #[must_use]
    pub fn is_donated(&self, number: usize) -> bool {
        self.adoption.is_donated(number)
    }

    /// Whether any bundle comes from a donor.
    #[must_use]
    pub fn has_donors(&self) -> bool {
        !self.adoption.is_empty()
    }

    /// The prefixes of the bundle with this number; empty if no donor has the bundle's manifest.
    #[must_use]
    pub fn prefixes(&self, number: usize) -> &[PrefixRecord] {
        self.adoption.prefixes(number)
    }

    /// Begins to build, unless the stage existed already or building has begun.
    ///
    /// # Errors
    /// As [`StageBuild::begin`].
    pub fn start(&mut self) -> Result<()> {
        if matches!(self.state, State::Opened) {
            let (identities, options) = (self.identities.clone(), self.options.clone());
            let build = StageBuild::begin(&self.user_dir, &self.id, identities, options)?;
            self.state = State::Building(Box::new(build));
        }
        Ok(())
    }

    /// Whether the stage is being built.
    #[must_use]
    pub fn is_building(&self) -> bool {
        matches!(self.state, State::Building(_))
    }

    /// Checks, before any byte arrives, that the stage fits. `incoming` has one item for each bundle of the job; `None`
    /// stands for a bundle that will not be unpacked. If the stage does not fit beside its donors, the donors are
    /// released.
    ///
    /// # Errors
    /// [`Error::NoSpace`] with the numbers.
    pub fn expect(&mut self, incoming: &[Option<IncomingBundle>]) -> Result<Space> {
        let State::Building(build) = &mut self.state else { return Ok(Space::Enough) };
        let needed = incoming.iter().enumerate().filter(|(n, _)| self.adoption.needs_file(*n));
        let sizes = needed.filter_map(|(_, bundle)| bundle.as_ref().map(|bundle| bundle.size));
        match build.expect(sizes.chain([self.adoption.size()]).sum()) {
            Err(Error::NoSpace { .. }) if !self.adoption.is_empty() => {
                self.adoption.give_up();
                // If a donor cannot be removed, the next check of the space fails.
                let _ = collect_garbage(&self.user_dir, &self.identities);
                Ok(Space::DonorsReleased)
            }
            checked => checked.map(|()| Space::Enough),
        }
    }

    /// Checks that the stage still fits if one more bundle is unpacked, which takes the space `size`. The last check
    /// did not count this bundle, because it was to be adopted.
    ///
    /// # Errors
    /// [`Error::NoSpace`] with the numbers.
    pub fn expect_more(&mut self, size: Size) -> Result<()> {
        match &mut self.state {
            State::Building(build) => build.expect_more(size),
            _ => Ok(()),
        }
    }

    /// Takes the bundle with this number from its donor.
    ///
    /// # Errors
    /// As [`StageBuild::adopt`], except that [`Error::CannotWrite`] becomes [`Adopted::Failed`].
    pub fn adopt(&mut self, number: usize) -> Result<Adopted> {
        let State::Building(build) = &mut self.state else { return Ok(Adopted::NoDonor) };
        let Some(donation) = self.adoption.take(number) else { return Ok(Adopted::NoDonor) };
        let donor = donation.donor().to_path_buf();
        match build.adopt(number, donation) {
            Ok(unpacked) => {
                self.totals.adopted_bytes += unpacked.unpacked_bytes;
                if !self.totals.donors.contains(&donor) {
                    self.totals.donors.push(donor);
                    self.totals.donors.sort();
                }
                self.totals.add(unpacked);
                Ok(Adopted::Taken)
            }
            Err(error @ Error::CannotWrite { .. }) => {
                self.adoption.read_after_all(number);
                Ok(Adopted::Failed(FailedAdoption { donor, error }))
            }
            Err(error) => Err(error),
        }
    }

    /// Unpacks the bundle with this number from the bytes that arrive in `chunks`.
    ///
    /// # Errors
    /// As [`StageBuild::unpack`].
    pub fn unpack(
        &mut self,
        number: usize,
        bundle: &IncomingBundle,
        chunks: mpsc::Receiver<Vec<u8>>,
    ) -> Result<()> {
        if let State::Building(build) = &mut self.state {
            self.totals.add(build.unpack(number, bundle, chunks)?);
        }
        Ok(())
    }

    /// Adds a warning for the user.
    pub fn warn(&mut self, warning: String) {
        self.totals.warnings.push(warning);
    }

    /// Publishes the stage; `None` if no stage is being built. Removes donors that the new stage replaces.
    ///
    /// # Errors
    /// As [`StageBuild::publish`].
    pub fn publish(&mut self, runtime: &Runtime) -> Result<Option<Stage>> {
        let State::Building(mut build) = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(None);
        };
        build.inherit(std::mem::take(&mut self.adoption));
        let stage = build.publish(runtime)?;
        if !self.totals.donors.is_empty() {
            // A replaced donor that cannot be removed is no reason to fail.
            let _ = collect_garbage(&self.user_dir, &self.identities);
        }
        Ok(Some(stage))
    }

    /// Gives the stage up: removes what was built, and releases the donors.
    pub fn abandon(&mut self) {
        self.state = State::Ended;
        self.adoption = Adoption::default();
    }

    /// The totals of the bundles so far.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Ends the session and returns the totals.
    #[must_use]
    pub fn into_totals(self) -> Totals {
        self.totals
    }
}

impl Totals {
    fn add(&mut self, unpacked: Unpacked) {
        self.bundle_bytes += unpacked.bundle_bytes;
        self.unpacked_bytes += unpacked.unpacked_bytes;
        self.warnings.extend(unpacked.warning);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::bundle::{Named, PackOptions, PrefixSpec, Reader, pack};
    use crate::manifest::prefix::Mode;
    use crate::stage::build_options::AfterUse;
    use crate::stage::bundle_files::BundleFiles;

    struct World {
        root: tempfile::TempDir,
        user_dir: UserDir,
        bundles: Vec<Named>,
    }

    impl World {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let user_dir = UserDir::open(root.path()).unwrap();
            let mut world = Self { root, user_dir, bundles: Vec::new() };
            world.bundles = ["a", "b"].map(|name| world.pack(name, name)).to_vec();
            world
        }

        fn pack(&self, name: &str, content: &str) -> Named {
            let root = std::fs::canonicalize(self.root.path()).unwrap();
            let path = root.join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("file"), content).unwrap();
            let file = root.join(format!("{name}.tar.zst"));
            let spec = PrefixSpec { path, mode: Mode::Snapshot };
            pack(
                &[spec],
                &file,
                &PackOptions { level: None, progress: crate::progress::Progress::Hidden },
            )
            .unwrap();
            Named::file(&file)
        }

        fn open(&self, reserve: Option<u64>) -> StagingSession {
            let id = StageId::of_bundles(&self.bundles).unwrap();
            let options = BuildOptions {
                threads: 1,
                after_use: AfterUse::Keep,
                reserve,
                ..BuildOptions::default()
            };
            let identities = || self.bundles.iter().map(Identity::of).collect();
            StagingSession::open(&self.user_dir, &id, options, identities).unwrap()
        }

        fn incoming(&self, session: &StagingSession) -> Vec<Option<IncomingBundle>> {
            let mut files = BundleFiles::new(&self.bundles, vec![Vec::new(); self.bundles.len()]);
            files.open(&BuildOptions::default(), |number| session.needs(number)).unwrap()
        }

        /// Stages everything; returns for each bundle whether it was unpacked.
        fn stage(&self) -> Vec<bool> {
            let mut session = self.open(Some(0));
            let incoming = self.incoming(&session);
            session.start().unwrap();
            assert_eq!(session.expect(&incoming).unwrap(), Space::Enough);
            for (number, bundle) in incoming.iter().enumerate() {
                let adopted = session.adopt(number).unwrap();
                assert_eq!(matches!(adopted, Adopted::Taken), bundle.is_none());
                let Some(bundle) = bundle else { continue };
                let mut reader = Reader::open(&self.bundles[number]).unwrap();
                let (to, chunks) = mpsc::channel();
                while let Some(chunk) = reader.read_chunk(1000).unwrap() {
                    to.send(chunk).unwrap();
                }
                session.unpack(number, bundle, chunks).unwrap();
            }
            let runtime = Runtime { shim: b"shim".to_vec(), trampoline: b"exec".to_vec() };
            assert!(session.publish(&runtime).unwrap().is_some());
            incoming.iter().map(Option::is_some).collect()
        }

        fn names(&self) -> Vec<String> {
            let names = std::fs::read_dir(self.user_dir.path()).unwrap();
            names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    #[test]
    fn a_stage_is_found_again_and_a_new_stage_adopts_unchanged_bundles() {
        let mut world = World::new();
        assert_eq!(world.stage(), [true, true]);
        assert!(world.open(None).found().is_some());
        world.bundles[1] = world.pack("b", "changed");
        assert_eq!(world.stage(), [false, true]);
        // The new stage has replaced its donor, so the donor is removed.
        let session = world.open(None);
        let stage = session.found().unwrap();
        assert_eq!(world.names(), [stage.id.to_string()]);
        let fs = stage.dir.join(pyshm_format::layout::FS);
        let file = |name: &str| {
            let path = std::fs::canonicalize(world.root.path()).unwrap().join(name).join("file");
            std::fs::read_to_string(crate::stage::staged_file::below(&fs, Path::new(&path)))
                .unwrap()
        };
        assert_eq!((file("a"), file("b")), ("a".to_string(), "changed".to_string()));
    }

    #[test]
    fn donors_are_released_if_the_stage_does_not_fit_beside_them() {
        let mut world = World::new();
        world.stage();
        world.bundles[1] = world.pack("b", "changed");
        let mut session = world.open(Some(1 << 60));
        session.start().unwrap();
        assert!(session.is_donated(0) && session.needs(1));
        let incoming = world.incoming(&session);
        assert_eq!(session.expect(&incoming).unwrap(), Space::DonorsReleased);
        assert!(!session.has_donors() && session.needs(0) && session.needs(1));
        assert!(matches!(session.expect(&incoming), Err(Error::NoSpace { .. })));
        session.abandon();
        assert!(world.names().is_empty(), "{:?}", world.names());
    }
}
