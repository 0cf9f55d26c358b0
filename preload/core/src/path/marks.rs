//! Translates the change that a call makes into marks of the diverged set.
//!
//! Invariants:
//! - Marks are on paths, never on inodes, because nodes exchange their marks and each node numbers its devices
//!   differently. A file with several names is marked under each of them.
//! - A name that the index does not have gets no mark. Instead, the deepest directory above the name that the index has
//!   gets a mark, which says that the directory's names changed. The shared file system then answers for every name in
//!   this directory that the index lacks. So a program that makes a thousand files in a directory takes two marks.
//! - If the index is damaged, everything counts as diverged: the index cannot tell which entries a change concerns.

use libc::W_OK;
use pyshm_format::state::Mark;
use pyshm_format::{Entry, Kind, Lookup};

use crate::base::sys::{self, Ids};
use crate::base::text::at_last_slash;
use crate::path::change::Names;
use crate::stage::mapped::Stage;
use crate::stage::permission;

/// Marks what a call changes at a canonical path under a prefix.
pub fn mark(stage: &Stage, path: &[u8], names: Names) {
    match stage.index().find(path) {
        Lookup::Found(e) => mark_entry(stage, &e, names),
        Lookup::Absent => mark_unknown_name(stage, path),
        Lookup::Damaged => stage.view.diverged.fill(),
    }
}

/// Marks what a call changes at an entry of the index.
pub fn mark_entry(stage: &Stage, e: &Entry<'static>, names: Names) {
    let diverged = &stage.view.diverged;
    if e.kind() == Kind::File && e.stat().nlink > 1 {
        let (dev, ino) = e.inode();
        mark_inode(stage, dev, ino, |other| diverged.mark(Mark::Path, other.hash()));
    }
    diverged.mark(Mark::Path, e.hash());
    if e.kind() == Kind::Directory && names.hides_subtree() {
        diverged.mark(Mark::Subtree, e.hash());
    }
    if names.changes_listing() {
        mark_listing_above(stage, e.path());
    }
}

/// Calls `mark` for each entry of an inode, and returns whether the inode has an entry. If the index is damaged, marks
/// everything and returns true.
pub fn mark_inode(
    stage: &Stage,
    dev: u64,
    ino: u64,
    mut mark: impl FnMut(&Entry<'static>),
) -> bool {
    let index = stage.index();
    let Some(numbers) = index.of_inode(dev, ino) else {
        stage.view.diverged.fill();
        return true;
    };
    let any = !numbers.is_empty();
    for number in numbers {
        match index.entry(number) {
            Some(e) => mark(&e),
            None => stage.view.diverged.fill(),
        }
    }
    any
}

fn mark_listing_above(stage: &Stage, path: &[u8]) {
    if let Some((parent, _)) = at_last_slash(path)
        && let Some(dir) = stage.index().lookup(parent)
    {
        stage.view.diverged.mark(Mark::Listing, dir.hash());
    }
}

/// Marks a name that the index does not have.
fn mark_unknown_name(stage: &Stage, path: &[u8]) {
    let mut rest = path;
    while let Some((parent, _)) = at_last_slash(rest) {
        match stage.index().find(parent) {
            Lookup::Found(dir) => {
                stage.view.diverged.mark(Mark::NewNames, dir.hash());
                return stage.view.diverged.mark(Mark::Listing, dir.hash());
            }
            Lookup::Damaged => return stage.view.diverged.fill(),
            Lookup::Absent => rest = parent,
        }
    }
}

/// Whether the recorded permissions say that the call itself may change something at `path`. An open that neither makes
/// nor truncates a file changes nothing; only later writes do.
pub fn call_may_change(stage: &Stage, path: &[u8], names: Names) -> bool {
    let entry = || stage.index().lookup(path);
    let parent = || stage.index().lookup(at_last_slash(path)?.0);
    match names {
        Names::Opened { makes, cuts } => match entry() {
            Some(e) => cuts && may_write(&e),
            None => makes && parent().is_some_and(|dir| may_write(&dir)),
        },
        Names::Same | Names::Search => {
            entry().is_some_and(|e| e.stat().uid == sys::uid(Ids::Effective) || may_write(&e))
        }
        _ => parent().is_some_and(|dir| may_write(&dir)),
    }
}

fn may_write(e: &Entry<'static>) -> bool {
    // Only the kernel can evaluate an access control list, and asking would cost an operation.
    e.has_acl() || permission::check(e, W_OK, Ids::Effective).is_ok()
}
