//! Holds the diverged set: marks of the paths that have changed since staging.
//!
//! The set is a lock-free hash table in the stage's state file ([`crate::state`]), which all processes of the node
//! share. Marks are added and never removed. Usually the set is empty, which a reader learns from one load. Once the
//! stage is closed ([`crate::closed`]), everything counts as marked.
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

use crate::closed::{Closed, Reason, Reasons};
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
    closed: Closed<'a>,
    subtrees: &'a AtomicU64,
    counters: &'a [AtomicU64],
    set: &'a [AtomicU64],
}

impl<'a> Diverged<'a> {
    /// Finds the set in the words of a whole state file. `None` if the file is too short.
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        const COUNTERS: usize = state::COUNTERS / 8;
        const SET: usize = state::SET / 8;
        Some(Self {
            closed: Closed::new(words)?,
            subtrees: words.get(state::SUBTREES / 8)?,
            counters: words.get(COUNTERS..COUNTERS + state::STRIPES * state::STRIPE_BYTES / 8)?,
            set: words.get(SET..SET + state::SLOTS)?,
        })
    }

    /// Whether anything diverged at all, or the stage is closed.
    #[inline]
    pub fn any(&self) -> bool {
        self.closed.count.load(Ordering::Acquire) != 0
    }

    /// Whether any [`Mark::Subtree`] may be set.
    pub fn any_subtree(&self) -> bool {
        self.subtrees.load(Ordering::Acquire) != 0 || self.is_closed()
    }

    /// Whether the path with this hash carries the mark. True for everything once the stage is closed.
    pub fn has(&self, mark: Mark, hash: u64) -> bool {
        let (count, reasons) = self.closed.read();
        if !reasons.is_empty() {
            return true;
        }
        if count == 0 {
            return false;
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
    pub fn is_closed(&self) -> bool {
        !self.reasons().is_empty()
    }

    /// Why the stage is closed.
    pub fn reasons(&self) -> Reasons {
        self.closed.read().1
    }

    /// Makes everything count as diverged, and returns what [`Closed::close`] does.
    pub fn close(&self, reason: Reason, program: &[u8]) -> bool {
        self.closed.close(reason, program)
    }

    /// Adds a mark, and returns whether this has closed the stage, because the set is full.
    pub fn mark(&self, mark: Mark, hash: u64) -> bool {
        let subtrees = if mark == Mark::Subtree { Subtrees::Possible } else { Subtrees::None };
        self.insert(mark.word(hash), subtrees)
    }

    /// Adds the word of a mark, and returns what [`mark`](Self::mark) does. `subtrees` says whether the mark may be a
    /// subtree mark.
    pub fn insert(&self, word: u64, subtrees: Subtrees) -> bool {
        if word == 0 {
            return false;
        }
        // A quarter of the slots stays free, so that the search for an absent mark ends soon.
        let (marks, reasons) = self.closed.read();
        if !reasons.is_empty() {
            return false;
        }
        if marks as usize >= self.set.len() / 4 * 3 {
            return self.close(Reason::Full, b"");
        }
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::AcqRel);
        for slot in self.search(word) {
            match slot.compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    count(self.closed.count);
                    if subtrees == Subtrees::Possible {
                        count(self.subtrees);
                    }
                    return false;
                }
                Err(w) if w == word => {
                    // The process that inserted it may not have counted it yet, and a count of 0 hides all marks. One
                    // too many is harmless.
                    if !self.any() {
                        count(self.closed.count);
                    }
                    if subtrees == Subtrees::Possible && self.subtrees.load(Ordering::Acquire) == 0
                    {
                        count(self.subtrees);
                    }
                    return false;
                }
                Err(_) => {}
            }
        }
        // Other processes took the last slots at the same time, and may not have counted them yet.
        self.close(Reason::Full, b"")
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
