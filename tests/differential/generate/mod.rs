//! Chooses trees and steps at random, but so that most steps name objects that exist.
//!
//! The generator sees the bare run's tree and descriptors before each step. A few objects are in *focus*: most steps
//! concern these objects, so that one process often reads an object that another process has just renamed.
//!
//! ```text
//! beginning            the tree and the settings of a program
//! world                the objects that the bare tree has
//! paths, words         the words of a step
//! opening, descriptors, looking, changing, processes, surroundings
//!                      the steps, by family
//! ```
//!
//! A random number below 1000, the *choice*, decides on a step. Each family of steps has its own range of choices.
//! Within the family, each step has a part of this range, and the last step has the remaining part.
//!
//! Invariant: a seed always means the same program. The random numbers are drawn in a fixed order, so a call of
//! [`Random`] that is added, removed or moved changes every program.

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

/// Groups of choices. Each program prefers a few groups, because long interactions of the same few kinds of steps find
/// more differences. Beside a group stands a kind. If this kind is off, the group has no steps.
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
    /// The objects of the last steps.
    recent: VecDeque<PathBuf>,
    /// For each open block, the outermost first, the number of steps that it is still to get.
    open: Vec<usize>,
    /// The number of processes that run beside the first.
    peers: usize,
    /// The number of new names that were chosen.
    made: usize,
    favourites: Vec<Range<usize>>,
    /// The percentage of paths that are names of descriptors.
    by_descriptor: usize,
    /// The percentage of paths that are written in a roundabout way, such as with `..`.
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

    /// Chooses the objects in focus, and the number of processes.
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

    /// The number of processes that run beside the first.
    pub fn peers(&self) -> usize {
        self.peers
    }

    /// The step that ends the innermost block, if this block has all its steps.
    pub fn end_of_block(&mut self) -> Option<String> {
        let left = self.open.last_mut()?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        self.open.pop();
        Some("end".into())
    }

    /// Forgets the block that `step` would have begun, because the step is not performed.
    pub fn forget_block(&mut self, step: &str) {
        if matches!(step, "fork" | "thread" | "static") {
            self.open.pop();
        }
    }

    /// Whether a block is open. All steps of a block are performed by one process.
    pub fn in_block(&self) -> bool {
        !self.open.is_empty()
    }

    /// Remembers the names of all objects, because an object may be removed later.
    pub fn remember(&mut self, world: &World) {
        for path in world.files.iter().chain(&world.dirs).chain(&world.links) {
            self.gone.insert(path.clone());
        }
    }

    /// Chooses a step. The step may be one that fails.
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
