//! Chooses steps that change the surroundings of a process: limits, mounts, the root directory, the stage, and the
//! directories above the prefix.

use super::paths::Want::Dir;
use super::{Generator, World};
use crate::state::State;

impl Generator {
    /// Chooses a step that changes the surroundings.
    pub(super) fn surrounding_step(
        &mut self,
        choice: usize,
        world: &World,
        state: &State,
    ) -> String {
        match choice {
            962..966 => "nofile 20".into(),
            966..970 => {
                self.random.word("nofile|1024 nofile|4 memory|4500 memory|0").replace('|', " ")
            }
            970..972 => "fsize 3000".into(),
            972..975 => {
                format!("mount {} {}", self.path(world, state, Dir), self.path(world, state, Dir))
            }
            975..977 => format!("tmpfs {}", self.path(world, state, Dir)),
            977..980 => format!("umount {}", self.path(world, state, Dir)),
            980..982 if !self.open.is_empty() => format!("chroot {}", self.random.word("{M} {E}")),
            982..983 => self.random.word("unstage lose-stage").into(),
            983..989 => format!(
                "rename {} {}",
                self.random.word("{M}/p {M}/q {M}/alias {E} {M}/p/env3"),
                self.random.word("{M}/p {M}/q {M}/p/env3 {E} {M}/alias2")
            ),
            989..993 => format!("unlink {}", self.random.word("{M}/alias {M}/out/to-env {E}/to-d")),
            993..997 => format!(
                "symlink {} {}",
                self.random.word("p/env2 out {E}/d p/env"),
                self.random.word("{M}/alias {M}/out/to-env {E}/to-d")
            ),
            _ => "umask 22".into(),
        }
    }
}
