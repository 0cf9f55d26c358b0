//! Says whether a program without the shim may write under a prefix, by what was recorded when the stage was built.
//!
//! Invariant: a program of which this says no cannot make, change, remove or rename anything at, below or above a
//! prefix. In doubt the answer is yes.

use core::sync::atomic::Ordering;

use pyshm_format::Writers;

use crate::base::sys::{self, Ids};
use crate::stage::identity::OTHER_NAMESPACE;
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
            _ if OTHER_NAMESPACE.load(Ordering::Acquire) => {
                let own = self.is_of_this_user() && maps_itself_alone();
                open.any(|i| !own || owner_may_write(index.writers(i)))
            }
            Rights::Own => open.any(|i| may_write(index.writers(i), None)),
            Rights::Group(group) => open.any(|i| may_write(index.writers(i), Some(group))),
        }
    }
}

fn may_write(writers: Writers<'_>, group: Option<u32>) -> bool {
    let (user, real) = (sys::uid(Ids::Effective), sys::uid(Ids::Real));
    writers.anybody()
        || user == 0
        || real == 0
        || sys::has_capabilities()
        || writers.has_user(user)
        || writers.has_user(real)
        || group.is_some_and(|group| writers.has_group(group))
        || [Ids::Effective, Ids::Real].iter().any(|ids| writers.has_group(sys::gid(*ids)))
        || any_group(|group| writers.has_group(group))
}

/// Whether the user who built the stage may write, in a user namespace that shows no other user. Its numbers of groups
/// mean nothing here, and its capabilities concern the files of that user alone.
fn owner_may_write(writers: Writers<'_>) -> bool {
    let user = writers.seen_by();
    writers.anybody() || user == 0 || writers.has_user(user) || writers.has_groups()
}

/// Whether the user namespace of this process has no more than one user of the namespace above it: `0 1000 1`, or nothing.
fn maps_itself_alone() -> bool {
    let Ok(fd) = sys::open(c"/proc/self/uid_map", libc::O_RDONLY | libc::O_CLOEXEC) else {
        return false;
    };
    let mut map = [0; 128];
    let read = sys::read(fd, &mut map);
    sys::close(fd);
    let Some(text) = read.ok().and_then(|n| map.get(..n)) else { return false };
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    match (words.nth(2), words.next()) {
        (Some(count), None) => count == b"1",
        (None, _) => text.is_empty(),
        _ => false,
    }
}

/// Whether `is` is true of a supplementary group. It is where there are too many to be asked for.
fn any_group(is: impl Fn(u32) -> bool) -> bool {
    let mut groups = [0; 256];
    let n = sys::getgroups(&mut groups);
    n.map_or(true, |n| groups.iter().take(n).any(|group| is(*group)))
}
