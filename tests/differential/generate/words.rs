//! Chooses the words of a step that are no paths: slots, data, modes, flags, times.

use super::Generator;
use crate::state::{Slot, State};

impl Generator {
    /// Mostly a slot whose descriptor `fits`.
    pub(super) fn slot_of(&mut self, state: &State, fits: impl Fn(&Slot) -> bool) -> String {
        let fitting: Vec<_> = state.slots.iter().filter(|slot| fits(slot)).collect();
        if self.random.percent(95)
            && let Some(slot) = self.random.pick(&fitting)
        {
            return format!("s{}", slot.number);
        }
        match self.random.pick(&state.slots) {
            Some(slot) => format!("s{}", slot.number),
            None => "s0".into(),
        }
    }

    /// An empty slot, if there is one.
    pub(super) fn free_slot(&mut self, state: &State) -> String {
        let free = (0..12).find(|n| state.slots.iter().all(|slot| slot.number != *n));
        format!("s{}", free.unwrap_or_else(|| self.random.below(12)))
    }

    /// Bytes to write.
    pub(super) fn data(&mut self) -> String {
        let n = self.random.below(1000);
        match self.random.below(6) {
            0 => format!("long{n}-{{x{}}}", self.random.below(6000)),
            1 => "\"\"".into(),
            _ => format!("new{n}"),
        }
    }

    /// Permission bits.
    pub(super) fn mode(&mut self) -> &'static str {
        self.random.word("644 644 600 755 700 444 400 000 664 666 555")
    }

    /// Flags of `open`.
    pub(super) fn open_flags(&mut self) -> String {
        let mut flags = vec![self.random.word("RDONLY RDONLY RDONLY RDONLY WRONLY RDWR RDWR")];
        let more = [
            ("CREAT", if flags[0] == "RDONLY" { 5 } else { 40 }),
            ("EXCL", 4),
            ("TRUNC", if flags[0] == "RDONLY" { 1 } else { 20 }),
            ("APPEND", 8),
            ("DIRECTORY", 4),
            ("NOFOLLOW", 8),
            ("PATH", 6),
            ("CLOEXEC", 15),
        ];
        for (flag, percent) in more {
            if self.random.percent(percent) {
                flags.push(flag);
            }
        }
        flags.join("|")
    }

    /// A time to set.
    pub(super) fn time(&mut self) -> String {
        match self.random.below(5) {
            0 => "now".into(),
            1 => "omit".into(),
            _ => format!(
                "{}.{:09}",
                900_000_000 + self.random.below(1000),
                self.random.below(1_000_000_000)
            ),
        }
    }
}
