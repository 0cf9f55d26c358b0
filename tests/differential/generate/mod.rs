//! Chooses trees and steps at random, so that most steps hit something.
//!
//! The generator sees the bare run's tree and descriptors before each step. A few objects are in *focus*: most steps
//! concern them, so that one process reads what another has just renamed.
//!
//! ```text
//! beginning            what a program begins with
//! world                the objects that the bare tree has
//! paths, words         the words of a step
//! opening, descriptors, looking, changing, processes, surroundings
//!                      the steps, by family
//! ```
//!
//! A step is one of a thousand *choices*, which are numbered through all families: a family matches its own part of them, and
//! its last step takes the rest of that part.
//!
//! Invariant: a seed always means the same program. Each of its random numbers is drawn in a fixed order, so a call of
//! [`Random`] that is added, left out or moved changes every program.

mod beginning;
mod changing;
mod descriptors;
mod looking;
mod opening;
mod paths;
mod processes;
mod surroundings;
mod words;
mod world;

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::path::PathBuf;

pub use world::World;

use crate::kinds::{Kind, Kinds};
use crate::program::{Program, User};
use crate::random::Random;
use crate::state::State;

/// Groups of choices, of which a program has favourites: the more often steps of few groups meet, the deeper it gets. Beside
/// each, a kind without which the group is empty.
const GROUPS: &[(Range<usize>, Option<Kind>)] = &[
    (0..200, None),
    (205..345, None),
    (336..430, None),
    (433..451, Some(Kind::Lock)),
    (451..553, None),
    (563..652, None),
    (652..682, None),
    (682..728, None),
    (728..773, None),
    (773..813, None),
    (813..869, None),
    (869..889, None),
    (889..918, None),
    (920..930, Some(Kind::Identity)),
    (930..962, None),
    (962..972, Some(Kind::Limit)),
    (972..980, Some(Kind::Mount)),
    (983..997, Some(Kind::Above)),
];

/// Chooses one step of a program after another.
pub struct Generator {
    pub random: Random,
    focus: Vec<PathBuf>,
    /// Names that exist or existed once.
    gone: BTreeSet<PathBuf>,
    /// What the last steps concerned.
    recent: VecDeque<PathBuf>,
    /// Blocks that are open: how many steps each still has.
    open: Vec<usize>,
    /// How many processes live beside the first.
    peers: usize,
    /// How many new names were chosen.
    made: usize,
    favourites: Vec<Range<usize>>,
    /// How many of a hundred paths are names of descriptors.
    by_descriptor: usize,
    /// How many of a hundred paths are not written plainly.
    roundabout: usize,
}

impl Generator {
    /// The generator of a seed, and its program, which has no steps yet.
    pub fn new(seed: u64, user: User, kinds: &Kinds) -> (Self, Program) {
        let mut random = Random::new(seed.wrapping_mul(2) + u64::from(user == User::Root));
        let program = beginning::program(&mut random, user, kinds);
        let possible: Vec<_> =
            GROUPS.iter().filter(|(_, kind)| kind.is_none_or(|kind| !kinds.is_off(kind))).collect();
        let favourites =
            (0..3).filter_map(|_| random.pick(&possible).map(|(group, _)| group.clone())).collect();
        let by_descriptor = [2, 8, 40][random.below(3)];
        let roundabout = [0, 8, 30][random.below(3)];
        (
            Self {
                random,
                focus: Vec::new(),
                gone: BTreeSet::new(),
                recent: VecDeque::new(),
                open: Vec::new(),
                peers: 0,
                made: 0,
                favourites,
                by_descriptor,
                roundabout,
            },
            program,
        )
    }

    /// Chooses what most steps concern, and how many processes there are.
    pub fn begin(&mut self, world: &World) {
        self.remember(world);
        for these in [&world.files, &world.files, &world.dirs, &world.links] {
            let inside: Vec<_> = these.iter().filter(|p| p.starts_with("p/env")).collect();
            if let Some(one) = self.random.pick(&inside) {
                self.focus.push(one.to_path_buf());
            }
        }
        if self.random.percent(40)
            && let Some(names) = self.random.pick(&world.namesakes)
        {
            self.focus.extend(names.iter().cloned());
        }
        if self.random.percent(40) {
            self.peers = 1 + self.random.below(2);
        }
    }

    /// How many processes there are beside the first.
    pub fn peers(&self) -> usize {
        self.peers
    }

    /// The step that ends the innermost block, once that has all its steps.
    pub fn end_of_block(&mut self) -> Option<String> {
        let left = self.open.last_mut()?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        self.open.pop();
        Some("end".into())
    }

    /// Takes back the block that `step` would have begun.
    pub fn forget_block(&mut self, step: &str) {
        if matches!(step, "fork" | "thread" | "static") {
            self.open.pop();
        }
    }

    /// Whether a block is open: until it ends, all steps are of one process.
    pub fn in_block(&self) -> bool {
        !self.open.is_empty()
    }

    /// Remembers names that may vanish.
    pub fn remember(&mut self, world: &World) {
        for path in world.files.iter().chain(&world.dirs).chain(&world.links) {
            self.gone.insert(path.clone());
        }
    }

    /// A step, which may be one that cannot work.
    pub fn step(&mut self, world: &World, state: &State) -> String {
        let mut choice = self.random.below(1000);
        if self.random.percent(40)
            && let Some(group) = self.random.pick(&self.favourites).cloned()
        {
            choice = group.start + self.random.below(group.len());
        }
        let needs_descriptor = (155..451).contains(&choice);
        if needs_descriptor && state.slots.len() < 2 && self.random.percent(80) {
            choice = self.random.below(145);
        }
        match choice {
            0..205 => self.opening_step(choice, world, state),
            205..451 => self.descriptor_step(choice, world, state),
            451..682 => self.looking_step(choice, world, state),
            682..869 => self.changing_step(choice, world, state),
            869..889 => self.mapping_step(choice, state),
            889..962 => self.process_step(choice, world, state),
            _ => self.surrounding_step(choice, world, state),
        }
    }
}
