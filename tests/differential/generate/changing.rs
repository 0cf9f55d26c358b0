//! Chooses steps that change an object by its name.

use super::paths::Want::{Any, Dir, File, Link, New};
use super::{Generator, World};
use crate::state::{Slot, State};

impl Generator {
    /// Chooses a step that changes an object by its name.
    pub(super) fn changing_step(&mut self, choice: usize, world: &World, state: &State) -> String {
        match choice {
            682..690 => format!("mkdir {} {}", self.path(world, state, New), self.mode()),
            690..694 => format!("mkdirat {} {}", self.at(world, state, New), self.mode()),
            694..702 => format!("rmdir {}", self.path(world, state, Dir)),
            702..717 => format!(
                "{} {}",
                self.random.word("unlink unlink remove"),
                self.path(world, state, File)
            ),
            717..723 => format!(
                "unlinkat {} {}",
                self.at(world, state, Any),
                self.random.word("- - REMOVEDIR")
            ),
            723..728 => format!("unlink {}", self.path(world, state, Link)),
            728..758 => {
                let want = if self.random.percent(60) { File } else { Any };
                let to = if self.random.percent(60) { New } else { want };
                format!("rename {} {}", self.path(world, state, want), self.path(world, state, to))
            }
            758..763 => {
                format!("renameat {} {}", self.at(world, state, Any), self.at(world, state, New))
            }
            763..773 => {
                let flags = self.random.word("NOREPLACE EXCHANGE EXCHANGE -");
                let to = if flags == "EXCHANGE" { Any } else { New };
                format!(
                    "renameat2 {} {} {flags}",
                    self.at(world, state, Any),
                    self.at(world, state, to)
                )
            }
            773..785 => {
                format!("link {} {}", self.path(world, state, File), self.path(world, state, New))
            }
            785..790 => format!(
                "linkat {} {} {}",
                self.at(world, state, File),
                self.at(world, state, New),
                self.random.word("- FOLLOW")
            ),
            790..794 => {
                let slot = self.slot_of(state, Slot::is_file);
                let (n, to) = (&slot[1..], self.path(world, state, New));
                format!("linkat cwd {{fd{n}}} cwd {to} FOLLOW")
            }
            794..796 => format!(
                "linkat {} \"\" cwd {} EMPTY_PATH",
                self.slot_of(state, Slot::is_file),
                self.path(world, state, New)
            ),
            796..804 => {
                let target = self
                    .path(world, state, Any)
                    .replace("{fd", "x")
                    .replace("{dev", "x")
                    .replace("{pid", "x");
                format!("symlink {target} {}", self.path(world, state, New))
            }
            804..807 => format!("symlinkat a {}", self.at(world, state, New)),
            807..810 => format!("mkfifo {} 644", self.path(world, state, New)),
            810..813 => format!("mknodat {} 644", self.at(world, state, New)),
            813..827 => format!("chmod {} {}", self.path_or_fd(world, state, Any), self.mode()),
            827..831 => format!(
                "fchmodat {} {} {}",
                self.at(world, state, Any),
                self.mode(),
                self.random.word("- - NOFOLLOW")
            ),
            831..837 => format!(
                "{} {} {} {}",
                self.random.word("chown lchown"),
                self.path(world, state, Any),
                self.random.word("0 12345 -1"),
                self.random.word("0 12345 -1")
            ),
            837..839 => format!(
                "fchownat {} -1 {} {}",
                self.at(world, state, Any),
                self.random.word("0 12345"),
                self.random.word("- NOFOLLOW")
            ),
            839..847 => format!(
                "utimensat {} {} {} {}",
                self.at(world, state, Any),
                self.time(),
                self.time(),
                self.random.word("- NOFOLLOW")
            ),
            847..855 => format!(
                "truncate {} {}",
                self.path_or_fd(world, state, File),
                self.random.word("0 5 50 5000")
            ),
            855..863 => format!(
                "{} {} user.{} v{} {}",
                self.random.word("setxattr lsetxattr"),
                self.path(world, state, Any),
                self.random.word("note k new"),
                self.random.below(100),
                self.random.word("- - CREATE REPLACE")
            ),
            863..866 => format!(
                "{} {} user.{}",
                self.random.word("removexattr lremovexattr"),
                self.path(world, state, Any),
                self.random.word("note k new dir")
            ),
            _ => format!("mkstemp {}XXXXXX", self.path(world, state, New)),
        }
    }
}
