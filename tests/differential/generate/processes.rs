//! Chooses steps that change the process itself, or start another process.

use super::paths::Want::{Any, Dir};
use super::{Generator, World};
use crate::state::{Slot, State};

impl Generator {
    /// Chooses a step that changes the process or starts another.
    pub(super) fn process_step(&mut self, choice: usize, world: &World, state: &State) -> String {
        match choice {
            889..904 => format!("chdir {}", self.path_or_fd(world, state, Dir)),
            904..910 => format!("fchdir {}", self.slot_of(state, Slot::is_dir)),
            910..918 => "getcwd".into(),
            918..920 => format!("umask {}", self.random.word("22 22 0 77 27")),
            920..930 => {
                if state.identity.starts_with("0:") && self.random.percent(60) {
                    return self
                        .random
                        .word("seteuid|12345 setegid|12345 setfsuid|12345")
                        .replace('|', " ");
                }
                self.random
                    .word("seteuid|0 setegid|0 setfsuid|0 seteuid|12345 setgroups")
                    .replace('|', " ")
            }
            930..945 if self.open.len() < 2 => {
                self.open.push(1 + self.random.below(6));
                self.random.word("fork fork thread static").into()
            }
            945..955 => format!("exec {}", self.random.word("self self {E}/bin/steps")),
            955..962 => {
                let path = self.path(world, state, Any);
                if self.is_fifo(world, state, &path) {
                    return "getcwd".into();
                }
                match self.random.below(6) {
                    0 => format!("run ls -a {path}"),
                    1 => format!("run stat -c %n-%F-%a-%s {path}").replace('%', "%25"),
                    2 => format!("run rm -f {path}"),
                    3 => format!("run touch {path}"),
                    4 => format!("run sh -c echo%20x>>{path}"),
                    _ => format!("run cat {path}"),
                }
            }
            _ => "umask 22".into(),
        }
    }
}
