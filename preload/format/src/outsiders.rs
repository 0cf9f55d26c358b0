//! Which programs are known to lie outside every prefix, so that the kernel need not be asked at their next start.
//!
//! A table in the stage's state file ([`crate::state`]), shared by every process of the node: the hash of a name stands at
//! the place that it says itself, and a later one takes an earlier one's place. It only saves a look: where it is wrong (two
//! names of one hash, or a link that has led elsewhere since) a program runs from where it was started.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::{hash_path, state};

/// The table.
#[derive(Debug, Clone, Copy)]
pub struct Outsiders<'a>(&'a [AtomicU64]);

impl<'a> Outsiders<'a> {
    /// Takes the words of a whole state file; `None` if it is too short.
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        const FIRST: usize = state::KNOWN_PROGRAMS / 8;
        words.get(FIRST..FIRST + state::PROGRAMS).map(Self)
    }

    /// Whether the program that is started by this name is known to be one of them.
    pub fn has(&self, name: &[u8]) -> bool {
        let (place, word) = self.place(name);
        place.is_some_and(|place| place.load(Ordering::Relaxed) == word)
    }

    /// Makes that known.
    pub fn add(&self, name: &[u8]) {
        if let (Some(place), word) = self.place(name) {
            place.store(word, Ordering::Relaxed);
        }
    }

    fn place(&self, name: &[u8]) -> (Option<&'a AtomicU64>, u64) {
        // 0 is free.
        let word = hash_path(name) | 1;
        (self.0.get((word >> 8) as usize & (state::PROGRAMS - 1)), word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_last_at_its_place_is_known() {
        let words = [const { AtomicU64::new(0) }; state::FILE_BYTES / 8];
        let outsiders = Outsiders::new(&words).unwrap();
        assert!(!outsiders.has(b"/usr/bin/true"));
        outsiders.add(b"/usr/bin/true");
        assert!(outsiders.has(b"/usr/bin/true") && !outsiders.has(b"/usr/bin/tru"));
        for number in 0..=u8::MAX {
            for other in 0..16 {
                outsiders.add(&[b'/', number, other]);
            }
        }
        assert!(!outsiders.has(b"/usr/bin/true"));
        let table = state::KNOWN_PROGRAMS / 8..state::COUNTERS / 8;
        let used =
            |(at, word): (usize, &AtomicU64)| (word.load(Ordering::Relaxed) != 0).then_some(at);
        assert!(words.iter().enumerate().filter_map(used).all(|at| table.contains(&at)));
    }

    #[test]
    fn a_file_that_is_too_short_has_none() {
        let words = [const { AtomicU64::new(0) }; state::COUNTERS / 8 - 1];
        assert!(Outsiders::new(&words).is_none());
    }
}
