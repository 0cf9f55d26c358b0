//! The diverged set: what of the stage no longer holds because a process of this node changed the original.
//!
//! A lock-free hash table in the stage's state file (`pyshm_format::state`), shared by every process of the node.
//! It only grows. A mark is inserted *before* the change is made, so that no process can see the change and then
//! be answered from the stage. Usually it is empty, and one load says so.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};
use pyshm_format::state::{self, Mark};

/// The state file as words.
#[derive(Debug, Clone, Copy)]
pub struct Diverged<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Diverged<'a> {
    /// Takes a whole state file; `None` if it is too short.
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        (words.len() >= state::FILE_BYTES / 8).then_some(Self { words })
    }

    fn word(&self, at: usize) -> u64 {
        self.words.get(at / 8).map_or(0, |w| w.load(Ordering::Acquire))
    }

    /// Whether anything diverged at all.
    pub fn any(&self) -> bool {
        self.word(state::COUNT) != 0
    }

    /// Whether whole directories diverged.
    pub fn any_subtree(&self) -> bool {
        self.word(state::SUBTREES) != 0 || self.full()
    }

    fn full(&self) -> bool {
        self.word(state::FULL) != 0
    }

    /// Whether the path with this hash carries the mark. True for everything once the set is full.
    pub fn has(&self, mark: Mark, hash: u64) -> bool {
        if !self.any() {
            return false;
        }
        if self.full() {
            return true;
        }
        let word = mark.word(hash);
        let mut slot = Mark::slot(word);
        for _ in 0..state::SLOTS {
            match self.word(state::SET + slot * 8) {
                0 => return false,
                w if w == word => return true,
                _ => slot = (slot + 1) & (state::SLOTS - 1),
            }
        }
        true
    }

    /// Adds a mark.
    pub fn mark(&self, mark: Mark, hash: u64) {
        let word = mark.word(hash);
        let mut slot = Mark::slot(word);
        let add = |at: usize| {
            if let Some(w) = self.words.get(at / 8) {
                w.fetch_add(1, Ordering::AcqRel);
            }
        };
        // A quarter stays free so that a search for what is not there ends soon.
        if self.word(state::COUNT) as usize >= state::SLOTS / 4 * 3 {
            if let Some(w) = self.words.get(state::FULL / 8) {
                w.store(1, Ordering::Release);
            }
            return;
        }
        for _ in 0..state::SLOTS {
            let Some(w) = self.words.get((state::SET + slot * 8) / 8) else { return };
            match w.compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    add(state::COUNT);
                    if mark == Mark::Subtree {
                        add(state::SUBTREES);
                    }
                    return;
                }
                Err(w) if w == word => {
                    // Its finder may not have counted yet, and with a count of 0 nobody looks. One too many is harmless.
                    if self.word(state::COUNT) == 0 {
                        add(state::COUNT);
                    }
                    if mark == Mark::Subtree && self.word(state::SUBTREES) == 0 {
                        add(state::SUBTREES);
                    }
                    return;
                }
                Err(_) => slot = (slot + 1) & (state::SLOTS - 1),
            }
        }
    }

    /// Counts an operation under a prefix, in a stripe of the caller's choice.
    pub fn count(&self, stripe: usize, answered: bool) {
        let which = if answered { state::ANSWERED } else { state::PASSED };
        let at = state::COUNTERS + (stripe & (state::STRIPES - 1)) * state::STRIPE_BYTES + which;
        if let Some(w) = self.words.get(at / 8) {
            w.fetch_add(1, Ordering::Relaxed);
        }
    }
}
