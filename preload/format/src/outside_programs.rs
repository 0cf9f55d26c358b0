//! Remembers which programs lie outside every prefix. When such a program starts again, the shim need not ask the
//! kernel.
//!
//! The table is part of the stage's state file ([`crate::state`]), which all processes of the node share. The hash of a
//! program's name determines its place, and replaces the hash that was there. An answer may be
//! wrong, because two names may have one hash, or because a link now leads elsewhere. A wrong answer is harmless: the
//! program then runs from the path at which it was started.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::{hash_path, state};

/// The table of programs outside every prefix.
#[derive(Debug, Clone, Copy)]
pub struct OutsidePrograms<'a>(&'a [AtomicU64]);

impl<'a> OutsidePrograms<'a> {
    /// Finds the table in the words of a whole state file. `None` if the file is too short.
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        const FIRST: usize = state::KNOWN_PROGRAMS / 8;
        words.get(FIRST..FIRST + state::PROGRAMS).map(Self)
    }

    /// Whether the program of this name is known to lie outside.
    pub fn has(&self, name: &[u8]) -> bool {
        let (place, word) = self.place(name);
        place.is_some_and(|place| place.load(Ordering::Relaxed) == word)
    }

    /// Adds the program of this name.
    pub fn add(&self, name: &[u8]) {
        if let (Some(place), word) = self.place(name) {
            place.store(word, Ordering::Relaxed);
        }
    }

    fn place(&self, name: &[u8]) -> (Option<&'a AtomicU64>, u64) {
        // 0 marks a free place.
        let word = hash_path(name) | 1;
        (self.0.get((word >> 8) as usize & (state::PROGRAMS - 1)), word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_until_another_takes_its_place() {
        let words = [const { AtomicU64::new(0) }; state::FILE_BYTES / 8];
        let programs = OutsidePrograms::new(&words).unwrap();
        assert!(!programs.has(b"/usr/bin/true"));
        programs.add(b"/usr/bin/true");
        assert!(programs.has(b"/usr/bin/true") && !programs.has(b"/usr/bin/tru"));
        for number in 0..=u8::MAX {
            for other in 0..16 {
                programs.add(&[b'/', number, other]);
            }
        }
        assert!(!programs.has(b"/usr/bin/true"));
        let table = state::KNOWN_PROGRAMS / 8..state::COUNTERS / 8;
        let used =
            |(at, word): (usize, &AtomicU64)| (word.load(Ordering::Relaxed) != 0).then_some(at);
        assert!(words.iter().enumerate().filter_map(used).all(|at| table.contains(&at)));
    }

    #[test]
    fn a_short_file_has_no_table() {
        let words = [const { AtomicU64::new(0) }; state::COUNTERS / 8 - 1];
        assert!(OutsidePrograms::new(&words).is_none());
    }
}
