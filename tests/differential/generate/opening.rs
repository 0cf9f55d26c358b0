//! Chooses steps that open, duplicate and close descriptors.

use super::paths::Want::{Dir, File, New};
use super::{Generator, World};
use crate::state::State;

impl Generator {
    /// Chooses a step that opens, duplicates or closes a descriptor.
    pub(super) fn opening_step(&mut self, choice: usize, world: &World, state: &State) -> String {
        match choice {
            0..90 => {
                let slot = self.free_slot(state);
                let flags = self.open_flags();
                let want =
                    if flags.contains("CREAT") && self.random.percent(40) { New } else { File };
                let verb = self.random.word("open open open64");
                let path = self.path_or_fd(world, state, want);
                format!(
                    "{verb} {slot} {path} {} {}",
                    self.no_fifo(world, state, &path, flags),
                    self.mode()
                )
            }
            90..115 => {
                let (slot, path) = (self.free_slot(state), self.path(world, state, Dir));
                let flags = self.random.word("RDONLY RDONLY|DIRECTORY RDONLY|DIRECTORY RDONLY|PATH RDONLY|DIRECTORY|CLOEXEC|NOFOLLOW");
                format!("open {slot} {path} {} 0", self.no_fifo(world, state, &path, flags.into()))
            }
            115..145 => {
                let (slot, flags, at) =
                    (self.free_slot(state), self.open_flags(), self.at(world, state, File));
                let verb = self.random.word("openat openat openat-raw");
                format!("{verb} {slot} {at} {}|NONBLOCK {}", flags, self.mode())
            }
            145..150 => format!(
                "open {} {} {}|TMPFILE 600",
                self.free_slot(state),
                self.path(world, state, Dir),
                self.random.word("RDWR WRONLY")
            ),
            150..155 => {
                let path = self.path(world, state, New);
                if self.is_fifo(world, state, &path) {
                    return "umask 22".into();
                }
                format!("creat {} {path} {}", self.free_slot(state), self.mode())
            }
            155..185 => format!("close {}", self.slot_of(state, |_| true)),
            185..195 => format!("dup {} {}", self.slot_of(state, |_| true), self.free_slot(state)),
            195..200 => {
                format!("fdupfd {} {}", self.slot_of(state, |_| true), self.free_slot(state))
            }
            _ => {
                format!("dup2 {} {}", self.slot_of(state, |_| true), self.slot_of(state, |_| true))
            }
        }
    }
}
