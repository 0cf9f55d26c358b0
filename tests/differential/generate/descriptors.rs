//! Chooses steps on descriptors, locks and mappings.

use super::paths::Want::Any;
use super::{Generator, World};
use crate::state::{Slot, State};

impl Generator {
    /// Chooses a step on a descriptor.
    pub(super) fn descriptor_step(
        &mut self,
        choice: usize,
        world: &World,
        state: &State,
    ) -> String {
        match choice {
            205..245 => format!(
                "{} {} {}",
                self.random.word("read read readv"),
                self.slot_of(state, Slot::is_file),
                self.random.word("5 10 100 5000 0")
            ),
            245..265 => format!(
                "pread {} {} {}",
                self.slot_of(state, Slot::is_file),
                self.random.word("5 50 5000"),
                self.random.word("0 3 30 100 4990")
            ),
            265..300 => format!(
                "write {} {}",
                self.slot_of(state, |s| s.is_file() && s.writes()),
                self.data()
            ),
            300..310 => format!(
                "pwrite {} {} {}",
                self.slot_of(state, |s| s.is_file() && s.writes()),
                self.data(),
                self.random.word("0 5 50 5000")
            ),
            310..318 => format!(
                "ftruncate {} {}",
                self.slot_of(state, |s| s.is_file() && s.writes()),
                self.random.word("0 5 50 5000")
            ),
            318..321 => format!(
                "fallocate {} {} {}",
                self.slot_of(state, |s| s.is_file() && s.writes()),
                self.random.word("0 5 5000"),
                self.random.word("1 100 5000")
            ),
            321..336 => format!(
                "lseek {} {} {}",
                self.slot_of(state, |_| true),
                self.random.word("0 0 5 50 -1"),
                self.random.word("SET SET CUR CUR END DATA HOLE")
            ),
            336..366 => format!("fstat {}", self.slot_of(state, |_| true)),
            366..376 => format!("name {}", self.slot_of(state, |_| true)),
            376..384 => format!(
                "{} {}",
                self.random.word("getfl getfl getfd"),
                self.slot_of(state, |_| true)
            ),
            384..388 => format!(
                "setfl {} {}",
                self.slot_of(state, |_| true),
                self.random.word("RDONLY APPEND NONBLOCK APPEND|NONBLOCK")
            ),
            388..391 => format!("setfd {} {}", self.slot_of(state, |_| true), self.random.below(2)),
            391..401 => format!("fchmod {} {}", self.slot_of(state, |_| true), self.mode()),
            401..405 => format!(
                "fchown {} {} {}",
                self.slot_of(state, |_| true),
                self.random.word("0 12345 -1"),
                self.random.word("0 12345 -1")
            ),
            405..413 => format!(
                "futimens {} {} {}",
                self.slot_of(state, |_| true),
                self.time(),
                self.time()
            ),
            413..418 => format!(
                "{} {}",
                self.random.word("fsync fdatasync syncfs fadvise"),
                self.slot_of(state, |_| true)
            ),
            418..424 => format!(
                "same {} {}",
                self.slot_of(state, |_| true),
                self.path_or_fd(world, state, Any)
            ),
            424..430 => {
                let slot = self.slot_of(state, |_| true);
                match self.random.below(4) {
                    0 => format!(
                        "fsetxattr {slot} user.{} v{}",
                        self.random.word("note k new"),
                        self.random.below(100)
                    ),
                    1 => {
                        format!("fgetxattr {slot} user.{} 100", self.random.word("note k new dir"))
                    }
                    2 => format!("flistxattr {slot} 1000"),
                    _ => format!("fremovexattr {slot} user.{}", self.random.word("note k new dir")),
                }
            }
            430..433 => format!(
                "copyrange {} {} 100",
                self.slot_of(state, Slot::is_file),
                self.slot_of(state, |s| s.is_file() && s.writes())
            ),
            // Locks.
            433..441 => format!(
                "flock {} {}",
                self.slot_of(state, |_| true),
                self.random.word("SH EX EX UN")
            ),
            441..449 => {
                let verb = self.random.word("lock lock getlk ofdlock ofdgetlk");
                format!(
                    "{verb} {} {} {} {}",
                    self.slot_of(state, Slot::is_file),
                    self.random.word("RD WR WR UN"),
                    self.random.word("0 0 10"),
                    self.random.word("0 5 20")
                )
            }
            _ => format!(
                "lockf {} {} 0",
                self.slot_of(state, Slot::is_file),
                self.random.word("TLOCK ULOCK TEST")
            ),
        }
    }

    /// Chooses a step on a mapping.
    pub(super) fn mapping_step(&mut self, choice: usize, state: &State) -> String {
        match choice {
            869..879 => format!(
                "map m{} {} {} {}",
                self.random.below(3),
                self.slot_of(state, Slot::is_file),
                self.random.word("50 4096 9000"),
                self.random.word("READ READ WRITE PRIVATE PRIVATE|WRITE")
            ),
            _ => {
                let m = self.random.pick(&state.maps).copied().unwrap_or(0);
                match self.random.below(6) {
                    0 => format!("unmap m{m}"),
                    1 | 2 => format!(
                        "mapwrite m{m} {} mapped{}",
                        self.random.word("0 5 30"),
                        self.random.below(100)
                    ),
                    _ => format!("mapread m{m}"),
                }
            }
        }
    }
}
