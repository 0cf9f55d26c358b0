//! This node's part: its stage while it is built, and what has gone wrong with it.
//!
//! A node that fails goes on taking part in the step; in the end it publishes a hollow stage, so that the launcher
//! finds the trampoline on every node.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::bcast::source::Coming;
use crate::error::{Error, Result};
use crate::manifest::prefix::PrefixRecord;
use crate::stage;
use crate::stage::hold::Hold;
use crate::stage::reuse::adopt::Adoption;
use crate::stage::{
    BuildOptions, Identity, Place, Runtime, Stage, StageBuild, StageId, job_record, teardown,
};

enum State {
    /// The stage was there.
    There(Stage),
    /// It is being built.
    Building(Box<StageBuild>),
    /// It is published and held.
    Held,
    /// It cannot be.
    Failed(Error),
}

pub(super) struct Node {
    place: Option<Place>,
    dir: PathBuf,
    id: StageId,
    state: State,
    identities: Vec<Identity>,
    /// What other stages here have of the one that is built.
    adoption: Adoption,
    /// Stages it was taken from, and bytes.
    adopted: Option<(u64, u64)>,
    /// Why the last bundle could not be taken.
    missed: Option<Error>,
    unpacked_bytes: u64,
    warnings: Vec<String>,
}

impl Node {
    /// Looks for the stage, and begins to build it where it is not there.
    pub fn prepare(root: &Path, id: &StageId, options: BuildOptions) -> Self {
        let mut node = Self {
            place: None,
            dir: PathBuf::new(),
            id: id.clone(),
            state: State::Held,
            identities: options.identities.clone(),
            adoption: Adoption::default(),
            adopted: None,
            missed: None,
            unpacked_bytes: 0,
            warnings: Vec::new(),
        };
        node.state = match Place::open(root) {
            Err(error) => State::Failed(error),
            Ok(place) => {
                teardown::register_place(&place);
                node.dir = place.stage_dir(id);
                let begun = begin(&place, id, options);
                node.place = Some(place);
                let (state, adoption) =
                    begun.unwrap_or_else(|e| (State::Failed(e), Adoption::default()));
                node.adoption = adoption;
                state
            }
        };
        node
    }

    pub fn has_stage(&self) -> bool {
        matches!(self.state, State::There(_))
    }

    pub fn is_staged(&self) -> bool {
        matches!(self.state, State::Held)
    }

    /// Whether the launcher will find the program to start here, in a stage or in a hollow one.
    pub fn has_trampoline(&self) -> bool {
        self.place.as_ref().is_some_and(|place| matches!(Stage::find(place, &self.id), Ok(Some(_))))
    }

    pub fn stage_dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// The published stage.
    pub fn stage(&self) -> Option<Stage> {
        let place = self.place.as_ref().filter(|_| self.is_staged())?;
        Stage::find(place, &self.id).ok().flatten()
    }

    /// The stage cannot be used after all: ranks of this node run from the shared file system.
    pub fn distrust(&mut self, error: Error) {
        self.state = State::Failed(error);
    }

    pub fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }

    /// What people should know of the bundles.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What is being built, if the node still needs what arrives.
    pub fn building(&mut self) -> Option<&mut StageBuild> {
        match &mut self.state {
            State::Building(build) => Some(build),
            _ => None,
        }
    }

    /// Whether the bundle with this number must come, as the stage that is built has no other way to it.
    pub fn needs(&self, number: usize) -> bool {
        matches!(self.state, State::Building(_)) && self.adoption.needs(number)
    }

    /// Whether it is taken from another stage of this node.
    pub fn adopts(&self, number: usize) -> bool {
        matches!(self.state, State::Building(_)) && self.adoption.has(number)
    }

    /// The prefixes of the bundle with this number, if a stage here knows them.
    pub fn prefixes(&self, number: usize) -> &[PrefixRecord] {
        self.adoption.prefixes(number)
    }

    /// The stage that bundles were taken from, as a number (0 where it is not one alone), and bytes of their files.
    pub fn adopted(&self) -> Option<(u64, u64)> {
        self.adopted
    }

    /// Checks that what comes will fit, before its first byte; whether more must come than was thought. Kept stages may
    /// be in the way: then nothing is taken from them.
    pub fn expect(&mut self, bundles: &[Option<Coming>]) -> bool {
        let coming = bundles.iter().enumerate().filter(|(number, _)| self.needs(*number));
        let sizes = coming.filter_map(|(_, coming)| coming.as_ref().map(|coming| coming.size));
        let size = sizes.chain([self.adoption.size()]).sum();
        match (self.building().map_or(Ok(()), |build| build.expect(size)), &self.place) {
            (Err(Error::NoSpace { .. }), Some(place)) if !self.adoption.is_empty() => {
                self.adoption.give_up();
                // What cannot be removed is missed when it is asked for again.
                let _ = stage::collect_garbage(place, &self.identities);
                true
            }
            (checked, _) => {
                if let Err(error) = checked {
                    self.state = State::Failed(error);
                }
                false
            }
        }
    }

    /// Takes the bundle with this number from another stage of this node, if one has it; `true` where it must come after
    /// all.
    pub fn adopt(&mut self, number: usize) -> bool {
        let Some(bundle) = self.adoption.take(number) else { return false };
        let from = bundle.from().file_name().and_then(|name| name.to_str());
        let from = from.and_then(|name| u64::from_str_radix(name, 16).ok()).unwrap_or_default();
        match self.building().map(|build| build.adopt(number, bundle)) {
            Some(Err(error @ Error::CannotWrite { .. })) => {
                self.adoption.miss(number);
                self.missed = Some(error);
            }
            Some(adopted) => {
                if let Ok(adopted) = &adopted {
                    let (known, bytes) = self.adopted.unwrap_or((from, 0));
                    let from = if known == from { from } else { 0 };
                    self.adopted = Some((from, bytes + adopted.unpacked_bytes));
                }
                self.unpacked(adopted);
            }
            None => {}
        }
        self.missed.is_some()
    }

    /// The bundle that could not be taken comes, or rank 0 cannot open it.
    pub fn expect_missed(&mut self, coming: Option<&Coming>) {
        let Some(why) = self.missed.take() else { return };
        let checked = match (self.building(), coming) {
            (Some(build), Some(coming)) => build.expect_more(coming.size),
            _ => Err(why),
        };
        if let Err(error) = checked {
            self.state = State::Failed(error);
        }
    }

    pub fn unpacked(&mut self, result: Result<stage::Unpacked>) {
        match result {
            Ok(unpacked) => {
                self.unpacked_bytes += unpacked.unpacked_bytes;
                self.warnings.extend(unpacked.warning);
            }
            // What was built so far goes with it.
            Err(error) => self.state = State::Failed(error),
        }
    }

    /// Uses a stage that was there.
    pub fn hold(&mut self, keep: bool) {
        if let (State::There(stage), Some(place)) = (&self.state, &self.place) {
            self.state = hold(place, stage, keep).map_or_else(State::Failed, |()| State::Held);
        }
    }

    /// Publishes what was built, or a hollow stage where that has failed.
    pub fn publish(&mut self, runtime: &Runtime, keep: bool) {
        let Some(place) = self.place.clone() else { return };
        match std::mem::replace(&mut self.state, State::Held) {
            State::There(stage) => {
                self.state = State::There(stage);
                self.hold(keep);
            }
            State::Building(mut build) => {
                build.inherit(std::mem::take(&mut self.adoption));
                let published = build.publish(runtime).and_then(|stage| hold(&place, &stage, keep));
                self.state = published.map_or_else(State::Failed, |()| State::Held);
                if self.adopted.is_some() {
                    // What the new stage was made from; one that stays is no reason to fail.
                    let _ = stage::collect_garbage(&place, &self.identities);
                }
            }
            state => self.state = state,
        }
        if matches!(self.state, State::Failed(_)) {
            // Where not even this works, `has_trampoline` says so and the whole job runs without stages.
            let _ = runtime
                .publish_hollow(&place, &self.id)
                .and_then(|stage| hold(&place, &stage, false));
        }
    }

    /// What went wrong.
    pub fn failure(&self) -> Option<String> {
        match &self.state {
            State::Failed(error) => Some(error.to_string()),
            _ => None,
        }
    }

    pub fn into_error(self) -> Option<Error> {
        match self.state {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }
}

fn begin(place: &Place, id: &StageId, options: BuildOptions) -> Result<(State, Adoption)> {
    if let Some(stage) = Stage::find(place, id)?.filter(|stage| !stage.is_hollow()) {
        return Ok((State::There(stage), Adoption::default()));
    }
    // What it holds is no garbage until the new stage is there.
    let adoption = Adoption::find(place, &options);
    stage::collect_garbage(place, &options.identities)?;
    job_record::sweep(place);
    Ok((State::Building(Box::new(StageBuild::begin(place, id, options)?)), adoption))
}

fn hold(place: &Place, stage: &Stage, keep: bool) -> Result<()> {
    teardown::keep(Hold::take(place, stage, keep)?);
    Ok(())
}
