//! Translates the change that a call makes into marks of the diverged set.
//!
//! Invariants:
//! - Marks are on paths, never on inodes, because nodes exchange their marks and each node numbers its devices
//!   differently. A file with several names is marked under each of them.
//! - A name that the index does not have gets no mark. Instead, the deepest directory above the name that the index has
//!   gets a mark, which says that the directory's names changed. The shared file system then answers for every name in
//!   this directory that the index lacks. So a program that makes a thousand files in a directory takes two marks.
//! - If the index is damaged, everything counts as diverged: the index cannot tell which entries a change concerns.

use core::ffi::c_int;

use libc::W_OK;
use pyshm_format::state::Mark;
use pyshm_format::{Entry, Kind, Lookup, Reason};

use crate::base::sys::{self, Ids};
use crate::base::text::at_last_slash;
use crate::path::change::Names;
use crate::stage::changed_library;
use crate::stage::mapped::Stage;
use crate::stage::permission;
use crate::stage::swap_fd::{Covers, take_originals};

/// Exchanges this process's descriptors of what a call at a canonical path under a prefix is about to move, remove or
/// change: afterwards its name does not lead there, or not to what is in the stage.
pub fn keep_descriptors(stage: &Stage, path: &[u8], names: Names) {
    match stage.index().lookup(path) {
        Some(e) => keep_descriptors_of(stage, &e, names),
        None => keep_parent(stage, path),
    }
}

/// [`keep_descriptors`] for an entry.
pub fn keep_descriptors_of(stage: &Stage, e: &Entry<'static>, names: Names) {
    match names {
        // What it opens is known by its descriptor.
        Names::Opened { .. } => {}
        Names::Search if e.kind() == Kind::Directory => {
            take_originals(stage, Covers::Name(e.path()))
        }
        Names::Same | Names::Search => {
            // Also where another process has marked the file: this one may have opened it before.
            let (dev, ino) = e.inode();
            take_originals(stage, Covers::Inode(dev, ino));
        }
        Names::Added => keep_parent(stage, e.path()),
        Names::Removed | Names::MovedAway | Names::MovedHere | Names::Exchanged => {
            take_originals(stage, Covers::Name(e.path()));
        }
    }
}

/// Exchanges this process's descriptors of the directory in which a name is about to change, unless it has changed names
/// already.
fn keep_parent(stage: &Stage, path: &[u8]) {
    if let Some((parent, _)) = at_last_slash(path)
        && let Some(dir) = stage.index().lookup(parent)
        && !stage.view.listing_diverged(&dir)
    {
        take_originals(stage, Covers::Parent(path));
    }
}

/// Marks what a call changes at a canonical path under a prefix.
pub fn mark(stage: &Stage, path: &[u8], names: Names) {
    match stage.index().find(path) {
        Lookup::Found(e) => mark_entry(stage, &e, names),
        Lookup::Absent => {
            mark_unknown_name(stage, path);
            if names.may_add() {
                changed_library::lead_to_new(stage, path);
            }
        }
        Lookup::Damaged => damaged(stage),
    }
}

/// Marks what a call changes at an entry of the index.
pub fn mark_entry(stage: &Stage, e: &Entry<'static>, names: Names) {
    if e.kind() == Kind::File && e.stat().nlink > 1 {
        let (dev, ino) = e.inode();
        mark_inode(stage, dev, ino, |other| mark_file(stage, other));
    }
    mark_file(stage, e);
    if e.kind() == Kind::Directory && names.hides_subtree() {
        // What lies below a directory that is gone leads to the originals already.
        let gone = stage.view.in_diverged_subtree(e.path());
        stage.mark(Mark::Subtree, e.hash());
        if !gone {
            changed_library::lead_to_all_below(stage, e.path());
        }
    }
    if names.changes_listing() {
        if !e.has_inode() {
            stage.mark(Mark::Name, e.hash());
        }
        mark_listing_above(stage, e.path());
    }
}

/// Marks an entry, and leads the loader to its original.
fn mark_file(stage: &Stage, e: &Entry<'static>) {
    let known = e.kind() == Kind::Directory || stage.view.diverged.has(Mark::Path, e.hash());
    stage.mark(Mark::Path, e.hash());
    if !known {
        changed_library::lead_to_original(stage, e);
    }
}

/// Calls `mark` for each entry of an inode, and returns whether there is one. If the index is damaged, marks everything
/// and returns true.
pub fn mark_inode(
    stage: &Stage,
    dev: u64,
    ino: u64,
    mut mark: impl FnMut(&Entry<'static>),
) -> bool {
    let index = stage.index();
    let Some(numbers) = index.of_inode(dev, ino) else {
        damaged(stage);
        return true;
    };
    let any = !numbers.is_empty();
    for number in numbers {
        match index.entry(number) {
            Some(e) => mark(&e),
            None => damaged(stage),
        }
    }
    any
}

/// [`mark_inode`] for an open original with the attributes `st`, whose name tells the entry where the inode is not known.
pub fn mark_open(
    stage: &Stage,
    fd: c_int,
    st: &libc::stat,
    mut mark: impl FnMut(&Entry<'static>),
) -> bool {
    if mark_inode(stage, st.st_dev, st.st_ino, &mut mark) {
        return true;
    }
    let named = stage.entry_by_name(fd, st);
    named.iter().for_each(mark);
    named.is_some()
}

fn mark_listing_above(stage: &Stage, path: &[u8]) {
    if let Some((parent, _)) = at_last_slash(path)
        && let Some(dir) = stage.index().lookup(parent)
    {
        stage.mark(Mark::Listing, dir.hash());
    }
}

/// Marks a name that the index does not have.
fn mark_unknown_name(stage: &Stage, path: &[u8]) {
    let mut rest = path;
    while let Some((parent, _)) = at_last_slash(rest) {
        match stage.index().find(parent) {
            Lookup::Found(dir) => {
                stage.mark(Mark::NewNames, dir.hash());
                return stage.mark(Mark::Listing, dir.hash());
            }
            Lookup::Damaged => return damaged(stage),
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

#[cold]
#[inline(never)]
fn damaged(stage: &Stage) {
    stage.close(Reason::Damaged, b"");
}
