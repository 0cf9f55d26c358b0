//! Stages on this node, and keeps the error if staging fails.
//!
//! Invariants:
//! - A node that fails goes on taking part in the step.
//! - At the end a failed node publishes a hollow stage, so that the launcher finds the trampoline on every node.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::manifest::prefix::PrefixRecord;
use crate::stage::hold::Hold;
use crate::stage::session::{Adopted, Space, StagingSession};
use crate::stage::{
    AfterUse, BuildOptions, Identity, IncomingBundle, Runtime, Stage, StageId, UserDir, job_record,
    teardown,
};

enum State {
    /// The session goes on.
    Staging,
    /// The stage is published and held.
    Held,
    /// There is no stage, except a hollow one.
    Failed(Error),
}

/// This node's part in the step.
pub(super) struct Node {
    id: StageId,
    after_use: AfterUse,
    /// The user's directory for stages; `None` if it could not be opened.
    user_dir: Option<UserDir>,
    /// The staging session; `None` if it could not be opened.
    session: Option<StagingSession>,
    state: State,
    /// Why the last bundle could not be adopted.
    adoption_error: Option<Error>,
}

/// The bundles that a node took from donors, as numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdoptedTotal {
    /// The donor's name as a number; 0 if there were several.
    pub donor: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Node {
    /// Opens a session, and begins to build if the stage does not exist.
    pub fn prepare(
        root: &Path,
        id: &StageId,
        identities: Vec<Identity>,
        options: BuildOptions,
    ) -> Self {
        let mut node = Self {
            id: id.clone(),
            after_use: options.after_use,
            user_dir: None,
            session: None,
            state: State::Staging,
            adoption_error: None,
        };
        if let Err(error) = node.begin(root, identities, options) {
            node.fail(error);
        }
        node
    }

    fn begin(
        &mut self,
        root: &Path,
        identities: Vec<Identity>,
        options: BuildOptions,
    ) -> Result<()> {
        let user_dir = self.user_dir.insert(UserDir::open(root)?);
        teardown::register_user_dir(user_dir);
        let session = StagingSession::open(user_dir, &self.id, options, || Ok(identities))?;
        let session = self.session.insert(session);
        if session.found().is_none() {
            job_record::sweep(user_dir);
        }
        session.start()
    }

    /// The session, unless the node has failed or is done.
    fn staging(&self) -> Option<&StagingSession> {
        self.session.as_ref().filter(|_| matches!(self.state, State::Staging))
    }

    /// The session, if the stage is being built.
    pub fn building(&mut self) -> Option<&mut StagingSession> {
        self.session.as_mut().filter(|session| session.is_building())
    }

    /// Whether the stage existed already.
    pub fn has_stage(&self) -> bool {
        self.staging().is_some_and(|session| session.found().is_some())
    }

    /// Whether the bundle with this number must arrive for the stage that is being built.
    pub fn needs(&self, number: usize) -> bool {
        self.staging().is_some_and(|session| session.needs(number))
    }

    /// Whether the bundle with this number comes from a donor.
    pub fn is_donated(&self, number: usize) -> bool {
        self.staging().is_some_and(|session| session.is_donated(number))
    }

    /// The prefixes of the bundle with this number; empty if no donor knows them.
    pub fn prefixes(&self, number: usize) -> &[PrefixRecord] {
        self.session.as_ref().map_or(&[], |session| session.prefixes(number))
    }

    /// Checks that the `incoming` bundles fit, before any byte arrives.
    pub fn expect(&mut self, incoming: &[Option<IncomingBundle>]) -> Space {
        let checked = self.building().map_or(Ok(Space::Enough), |build| build.expect(incoming));
        checked.unwrap_or_else(|error| {
            self.fail(error);
            Space::Enough
        })
    }

    /// Takes the bundle with this number from its donor, if the bundle has one. Returns whether this failed, so that
    /// the bundle has to be broadcast after all.
    pub fn adopt(&mut self, number: usize) -> bool {
        match self.building().map(|build| build.adopt(number)) {
            Some(Ok(Adopted::Failed(failed))) => self.adoption_error = Some(failed.error),
            Some(Err(error)) => self.fail(error),
            _ => {}
        }
        self.adoption_error.is_some()
    }

    /// If this node could not adopt the last bundle, checks that the node has room to unpack the bundle. `incoming` is
    /// `None` if rank 0 cannot open the bundle.
    pub fn check_room_for_unadopted(&mut self, incoming: Option<&IncomingBundle>) {
        let Some(why) = self.adoption_error.take() else { return };
        let checked = match (self.building(), incoming) {
            (Some(build), Some(incoming)) => build.expect_more(incoming.size),
            _ => Err(why),
        };
        if let Err(error) = checked {
            self.fail(error);
        }
    }

    /// Gives the stage up because of `error`. The ranks of this node will run from the shared file system.
    pub fn fail(&mut self, error: Error) {
        if let Some(session) = &mut self.session {
            session.abandon();
        }
        self.state = State::Failed(error);
    }

    /// Uses the stage that existed already.
    pub fn use_found(&mut self) {
        if let Some(stage) = self.staging().and_then(StagingSession::found).cloned() {
            let held = self.hold(&stage);
            self.finish(held);
        }
    }

    /// Publishes the stage and uses it. If the node has failed or fails now, publishes a hollow stage.
    pub fn publish(&mut self, runtime: &Runtime) {
        self.use_found();
        if let Some(build) = self.building() {
            let published = build.publish(runtime);
            let held = published.and_then(|stage| stage.map_or(Ok(()), |stage| self.hold(&stage)));
            self.finish(held);
        }
        if let (State::Failed(_), Some(user_dir)) = (&self.state, &self.user_dir) {
            // If the hollow stage cannot be published either, `has_trampoline` is false, and the whole job runs without
            // stages.
            let _ = runtime.publish_hollow(user_dir, &self.id).and_then(|stage| {
                teardown::store(Hold::take(user_dir, &stage, AfterUse::Remove)?);
                Ok(())
            });
        }
    }

    fn hold(&self, stage: &Stage) -> Result<()> {
        if let Some(user_dir) = &self.user_dir {
            teardown::store(Hold::take(user_dir, stage, self.after_use)?);
        }
        Ok(())
    }

    fn finish(&mut self, held: Result<()>) {
        match held {
            Ok(()) => self.state = State::Held,
            Err(error) => self.fail(error),
        }
    }

    /// Whether the stage is published and held.
    pub fn is_staged(&self) -> bool {
        matches!(self.state, State::Held)
    }

    /// Whether the launcher finds the trampoline here, in a stage or in a hollow one.
    pub fn has_trampoline(&self) -> bool {
        let find = |user_dir| matches!(Stage::find(user_dir, &self.id), Ok(Some(_)));
        self.user_dir.as_ref().is_some_and(find)
    }

    /// The directory of the stage, published or not; empty if the user's directory could not be opened.
    pub fn stage_dir(&self) -> PathBuf {
        self.user_dir.as_ref().map(|user_dir| user_dir.stage_dir(&self.id)).unwrap_or_default()
    }

    /// The published stage.
    pub fn stage(&self) -> Option<Stage> {
        let user_dir = self.user_dir.as_ref().filter(|_| self.is_staged())?;
        Stage::find(user_dir, &self.id).ok().flatten()
    }

    /// Bytes of the files that were unpacked or adopted.
    pub fn unpacked_bytes(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.totals().unpacked_bytes)
    }

    /// Warnings for the user about the bundles.
    pub fn warnings(&self) -> &[String] {
        self.session.as_ref().map_or(&[], |session| &session.totals().warnings)
    }

    /// The bundles that were taken from donors; `None` if none was taken, or if there is no stage.
    pub fn adopted(&self) -> Option<AdoptedTotal> {
        let totals = self.session.as_ref().filter(|_| self.is_staged())?.totals();
        let number = |donor: &PathBuf| {
            let name = donor.file_name()?.to_str()?;
            u64::from_str_radix(name, 16).ok()
        };
        let (first, others) = totals.donors.split_first()?;
        let donor = number(first).filter(|_| others.is_empty()).unwrap_or_default();
        Some(AdoptedTotal { donor, bytes: totals.adopted_bytes })
    }

    /// Why the node has no stage.
    pub fn failure(&self) -> Option<&Error> {
        match &self.state {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Ends the node's part and returns why it has no stage.
    pub fn into_failure(self) -> Option<Error> {
        match self.state {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }
}
