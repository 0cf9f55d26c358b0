//! Holds the diverged set: marks of the paths that have changed since staging.
//!
//! The set is a lock-free hash table in the stage's state file ([`crate::state`]), which all processes of the node
//! share. Marks are added and never removed. Usually the set is empty, which a reader learns from one load.
//!
//! Invariants:
//! - A mark is inserted before the call that makes the change returns to the program. So a process that learns of the
//!   change is no longer answered from the stage.
//! - Process A calls [`Diverged::mark`] and then acts. If process B sees A's action, B also sees the mark, even if a
//!   third process inserted the mark. A model of all interleavings checks this (`tests/checks/diverged-model.sh`).

#[cfg(not(all(loom, test)))]
use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicU64, Ordering};

use crate::state::{self, Mark, Operation};

/// Whether a mark may be a [`Mark::Subtree`]. The mark's word does not tell this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subtrees {
    /// The mark is no subtree mark.
    None,
    /// The mark may be a subtree mark.
    Possible,
}

/// The diverged set and the counters of a state file.
#[derive(Debug, Clone, Copy)]
pub struct Diverged<'a> {
    count: &'a AtomicU64,
    subtrees: &'a AtomicU64,
    full: &'a AtomicU64,
    counters: &'a [AtomicU64],
    set: &'a [AtomicU64],
}

impl<'a> Diverged<'a> {
    /// Finds the set in the words of a whole state file. `None` if the file is too short.
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        const COUNTERS: usize = state::COUNTERS / 8;
        const SET: usize = state::SET / 8;
        Some(Self {
            count: words.get(state::COUNT / 8)?,
            subtrees: words.get(state::SUBTREES / 8)?,
            full: words.get(state::FULL / 8)?,
            counters: words.get(COUNTERS..COUNTERS + state::STRIPES * state::STRIPE_BYTES / 8)?,
            set: words.get(SET..SET + state::SLOTS)?,
        })
    }

    /// Whether any path diverged.
    #[inline]
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) != 0
    }

    /// Whether any [`Mark::Subtree`] may be set.
    pub fn any_subtree(&self) -> bool {
        self.subtrees.load(Ordering::Acquire) != 0 || self.full()
    }

    fn full(&self) -> bool {
        self.full.load(Ordering::Acquire) != 0
    }

    /// Whether the path with this hash has the mark. True for every path once the set is full.
    pub fn has(&self, mark: Mark, hash: u64) -> bool {
        if !self.any() {
            return false;
        }
        if self.full() {
            return true;
        }
        for slot in self.search(mark.word(hash)) {
            match slot.load(Ordering::Acquire) {
                0 => return false,
                w if w == mark.word(hash) => return true,
                _ => {}
            }
        }
        true
    }

    /// All slots, in the order of the search for `word`.
    fn search(&self, word: u64) -> impl Iterator<Item = &'a AtomicU64> {
        let slot = Mark::slot(word, self.set.len());
        let (before, from) = self.set.split_at_checked(slot).unwrap_or((&[], self.set));
        from.iter().chain(before)
    }

    /// The words of all marks, in any order, for [`insert`](Self::insert) into another set.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        self.set.iter().map(|slot| slot.load(Ordering::Acquire)).filter(|&word| word != 0)
    }

    /// Whether everything counts as diverged.
    pub fn is_full(&self) -> bool {
        self.full()
    }

    /// Makes everything count as diverged.
    pub fn fill(&self) {
        self.full.store(1, Ordering::Release);
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Adds a mark.
    pub fn mark(&self, mark: Mark, hash: u64) {
        let subtrees = if mark == Mark::Subtree { Subtrees::Possible } else { Subtrees::None };
        self.insert(mark.word(hash), subtrees);
    }

    /// Adds the word of a mark. `subtrees` says whether the mark may be a subtree mark.
    pub fn insert(&self, word: u64, subtrees: Subtrees) {
        if word == 0 {
            return;
        }
        // A quarter of the slots stays free, so that a search for an absent mark ends soon.
        if self.count.load(Ordering::Acquire) as usize >= self.set.len() / 4 * 3 {
            self.full.store(1, Ordering::Release);
            return;
        }
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::AcqRel);
        for slot in self.search(word) {
            match slot.compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    count(self.count);
                    if subtrees == Subtrees::Possible {
                        count(self.subtrees);
                    }
                    return;
                }
                Err(w) if w == word => {
                    // The process that inserted the mark may not have counted it yet, and a count of 0 hides all marks.
                    // So the mark is counted here. Counting a mark twice is harmless.
                    if self.count.load(Ordering::Acquire) == 0 {
                        count(self.count);
                    }
                    if subtrees == Subtrees::Possible && self.subtrees.load(Ordering::Acquire) == 0
                    {
                        count(self.subtrees);
                    }
                    return;
                }
                Err(_) => {}
            }
        }
        // There is no free slot: other processes took the last slots at the same time. Those processes may not have
        // counted their marks yet, and a count of 0 would hide that the set is full.
        self.full.store(1, Ordering::Release);
        count(self.count);
    }

    /// Counts an operation under a prefix in the counters that the low bits of `stripe` select.
    pub fn count(&self, stripe: usize, operation: Operation) {
        let at = (stripe & (state::STRIPES - 1)) * state::STRIPE_BYTES + operation.offset();
        if let Some(w) = self.counters.get(at / 8) {
            w.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(all(loom, test))]
#[path = "diverged_model.rs"]
mod model;
