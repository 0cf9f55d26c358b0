//! Chooses steps that look at an object by its name and change nothing.

use super::paths::Want::{Any, Dir, File, Link};
use super::{Generator, World};
use crate::state::{Slot, State};

impl Generator {
    /// Chooses a step that looks at an object by its name.
    pub(super) fn looking_step(&mut self, choice: usize, world: &World, state: &State) -> String {
        match choice {
            451..491 => format!(
                "{} {}",
                self.random.word("stat stat stat lstat lstat"),
                self.path_or_fd(world, state, Any)
            ),
            491..501 => format!(
                "fstatat {} {}",
                self.at(world, state, Any),
                self.random.word("- NOFOLLOW NO_AUTOMOUNT")
            ),
            501..506 => format!("fstatat {} \"\" EMPTY_PATH", self.slot_of(state, |_| true)),
            506..514 => {
                format!("statx {} {}", self.at(world, state, Any), self.random.word("- NOFOLLOW"))
            }
            514..517 => format!("statx {} \"\" EMPTY_PATH", self.slot_of(state, |_| true)),
            517..529 => format!(
                "{} {} {}",
                self.random.word("access access euidaccess"),
                self.path_or_fd(world, state, Any),
                self.random.below(8)
            ),
            529..534 => format!(
                "faccessat {} {} {}",
                self.at(world, state, Any),
                self.random.below(8),
                self.random.word("- NOFOLLOW EACCESS")
            ),
            534..549 => format!(
                "readlink {} {}",
                self.path_or_fd(world, state, Link),
                self.random.word("4000 4000 3")
            ),
            549..553 => format!("readlinkat {} 4000", self.at(world, state, Link)),
            553..563 => format!("realpath {}", self.path_or_fd(world, state, Any)),
            563..598 => format!("list {}", self.path_or_fd(world, state, Dir)),
            598..604 => format!("listat {}", self.at(world, state, Dir)),
            604..609 => format!("getdents {}", self.slot_of(state, Slot::is_dir)),
            609..617 => {
                format!("opendir t{} {}", self.random.below(3), self.path(world, state, Dir))
            }
            617..620 => {
                format!("fdopendir t{} {}", self.random.below(3), self.slot_of(state, Slot::is_dir))
            }
            620..632 => {
                let t = self.random.pick(&state.streams).copied().unwrap_or(0);
                format!("{} t{t}", self.random.word("readdir readdir rewinddir closedir dirfd"))
            }
            632..642 => format!(
                "glob {} {}",
                self.pattern(world, state),
                self.random.word("- MARK ONLYDIR PERIOD")
            ),
            642..645 => {
                format!("nftw {} {}", self.path(world, state, Dir), self.random.word("0 1"))
            }
            645..648 => format!("fts {} 4", self.path(world, state, Dir)),
            648..652 => {
                format!("{} {}", self.random.word("statvfs pathconf"), self.path(world, state, Any))
            }
            652..672 => {
                let path = self.path_or_fd(world, state, File);
                if self.is_fifo(world, state, &path) {
                    return "getcwd".into();
                }
                match self.random.below(5) {
                    0 => format!(
                        "fopen {path} {} more{}",
                        self.random.word("a r+ w a+ w+"),
                        self.random.below(100)
                    ),
                    1 => format!("freopen {path} r"),
                    _ => format!("fopen {path} r"),
                }
            }
            _ => {
                let path = self.path(world, state, Any);
                match self.random.below(3) {
                    0 => format!(
                        "{} {path} user.{} 100",
                        self.random.word("getxattr lgetxattr"),
                        self.random.word("note k new dir long")
                    ),
                    1 => format!("{} {path} 1000", self.random.word("listxattr llistxattr")),
                    _ => format!(
                        "getxattr {path} user.{} {}",
                        self.random.word("note k"),
                        self.random.word("0 2")
                    ),
                }
            }
        }
    }
}
