//! Says whether a program without the shim may write under a prefix, by what was recorded when the stage was built.
//!
//! Invariant: a program of which this says no cannot make, change, remove or rename anything at, below or above a
//! prefix. In doubt the answer is yes.

use pyshm_format::Writers;

use crate::base::sys::{self, Ids};
use crate::stage::mapped::Stage;

/// What a program is allowed that is about to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// What this process is.
    Own,
    /// What this process is, and what this group is.
    Group(u32),
    /// Anything, because it gains privileges.
    All,
}

impl Stage {
    /// Whether a program with these rights may write under a prefix.
    #[cold]
    #[inline(never)]
    pub fn may_be_written(&self, rights: Rights) -> bool {
        let index = self.index();
        let mut open = (0..index.prefix_count())
            .filter(|&i| !index.prefix(i).is_some_and(|p| p.is_read_only()));
        match rights {
            Rights::All => open.next().is_some(),
            Rights::Own => open.any(|i| may_write(index.writers(i), None)),
            Rights::Group(group) => open.any(|i| may_write(index.writers(i), Some(group))),
        }
    }
}

fn may_write(writers: Writers<'_>, group: Option<u32>) -> bool {
    let (user, real) = (sys::uid(Ids::Effective), sys::uid(Ids::Real));
    writers.anybody()
        // In another user namespace the numbers mean others.
        || writers.seen_by() != user
        || user == 0
        || real == 0
        || sys::has_capabilities()
        || writers.has_user(user)
        || writers.has_user(real)
        || group.is_some_and(|group| writers.has_group(group))
        || [Ids::Effective, Ids::Real].iter().any(|ids| writers.has_group(sys::gid(*ids)))
        || any_group(|group| writers.has_group(group))
}

/// Whether `is` is true of a supplementary group. It is where there are too many to be asked for.
fn any_group(is: impl Fn(u32) -> bool) -> bool {
    let mut groups = [0; 256];
    let n = sys::getgroups(&mut groups);
    n.map_or(true, |n| groups.iter().take(n).any(|group| is(*group)))
}
