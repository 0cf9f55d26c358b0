//! Decides what a hook does with one operation on one absolute path.
//!
//! Invariants:
//! - The index answers for a path only when it proves the answer. If the index is unclear or damaged, the path passes
//!   to the kernel unchanged.
//! - The common cases (a path in the index, a missing name in a directory of the index) need no
//!   [`Scratch`](crate::base::scratch::Scratch), which is 8 KB of stack; [`crate::decide::walk`] handles all others.
#![forbid(unsafe_code)]

use libc::{EACCES, ELOOP, ENOENT, ENOTDIR, c_int};
use pyshm_format::index::PrefixMode;
use pyshm_format::state::Mark;
use pyshm_format::{Diverged, Entry, Index, Kind, Lookup, hash_path};

use crate::base::text::at_last_slash;
use crate::decide::spelling::may_be_odd;

/// Longest name of a directory entry.
pub const NAME_MAX: usize = 255;

/// The index and the set of diverged paths, from which decisions are made.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The stage's index.
    pub index: Index<'a>,
    /// Paths for which the index no longer holds.
    pub diverged: Diverged<'a>,
    /// The leading bytes that all spellings of all prefixes share. They rule out most paths that lie outside.
    common: &'a [u8],
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The operation is on the link's target.
    Yes,
    /// The operation is on the link itself.
    No,
}

impl Follow {
    /// Follows the link unless `no` is set. Most calls have a flag that says not to follow.
    #[inline]
    pub fn unless(no: bool) -> Self {
        if no { Self::No } else { Self::Yes }
    }

    /// Whether the link is followed.
    #[inline]
    pub fn is_yes(self) -> bool {
        self == Self::Yes
    }
}

/// What an operation wants of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The recorded attributes: stat, access, readlink, realpath.
    Attributes,
    /// The data, opened with these flags, which do not ask for writing.
    Data(c_int),
    /// Whether the name exists.
    Name,
    /// A program or library. The staged copy is loaded in place of the original.
    Program,
}

/// What a hook has to do.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'a> {
    /// Call the real function with the caller's own path, which lies under no prefix.
    Outside,
    /// Call the real function with the caller's own path, which lies under a prefix.
    Pass,
    /// Call the real function with the resolved path in the scratch, because a symbolic link led out of the prefixes.
    /// The number is the path's length in bytes.
    PassAs(usize),
    /// Answer from the entry, or use the entry's staged file.
    Redirect(Entry<'a>),
    /// Fail with this error number.
    Absent(c_int),
}

/// Where a path leads.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// Outside every prefix.
    Outside,
    /// Under a prefix, but only the kernel can tell where.
    Unknown,
    /// To a name that the index does not have. The index has the name's directory, but the directory's names changed,
    /// or the directory belongs to an overlay. Only the kernel can tell whether the name exists. The scratch has the
    /// path.
    Unlisted,
    /// Through a prefix and out again, to the path in the scratch.
    Leaves,
    /// To this entry.
    Entry(Entry<'a>),
    /// To a path that does not exist.
    Absent {
        /// The error number that the kernel would give.
        errno: c_int,
        /// Whether only the last name is missing.
        last: bool,
    },
}

/// Result of a walk.
#[derive(Debug, Clone, Copy)]
pub struct Walked<'a> {
    /// Where the path leads.
    pub found: Found<'a>,
    /// Length in bytes of the resolved path in the scratch, up to where the walk ended.
    pub len: usize,
}

impl<'a> View<'a> {
    /// Combines an index and a set of diverged paths.
    pub fn new(index: Index<'a>, diverged: Diverged<'a>) -> Self {
        let mut common: Option<&'a [u8]> = None;
        for prefix in index.prefixes() {
            let path = prefix.path;
            common = Some(match common {
                None => path,
                Some(c) => {
                    let same = c.iter().zip(path).take_while(|(a, b)| a == b).count();
                    c.get(..same).unwrap_or(b"")
                }
            });
        }
        Self { index, diverged, common: common.unwrap_or(b"") }
    }

    /// The number of the prefix at or under which an absolute path lies, judged by the path's spelling alone. `None` if
    /// the path lies under no prefix.
    #[inline]
    pub fn prefix_of(&self, path: &[u8]) -> Option<usize> {
        // One byte rules most paths out. Paths often share their first bytes with the prefixes, so a comparison from
        // the start would take longer.
        let last = self.common.len().wrapping_sub(1);
        if path.get(last) != self.common.get(last) { None } else { self.prefix_among_all(path) }
    }

    #[inline(never)]
    fn prefix_among_all(&self, path: &[u8]) -> Option<usize> {
        if !path.starts_with(self.common) {
            return None;
        }
        (0..self.index.prefix_count()).find(|&i| {
            self.index.prefix(i).is_some_and(|p| {
                path.strip_prefix(p.path)
                    .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            })
        })
    }

    /// Whether `path` is a proper ancestor of a canonical prefix, so that no part of `path` is a symbolic link.
    pub(super) fn above_canonical(&self, path: &[u8]) -> bool {
        self.index
            .prefixes()
            .any(|p| p.canonical.strip_prefix(path).is_some_and(|r| r.first() == Some(&b'/')))
    }

    /// Whether a directory at or above `path` was moved away or replaced.
    pub(super) fn in_diverged_subtree(&self, path: &[u8]) -> bool {
        if !self.diverged.any_subtree() {
            return false;
        }
        let mut path = path;
        while !path.is_empty() {
            if self.diverged.has(Mark::Subtree, hash_path(path)) {
                return true;
            }
            path = at_last_slash(path).map_or(b"", |(parent, _)| parent);
        }
        false
    }

    /// Whether an entry diverged, or a directory above it was moved away or replaced.
    pub fn entry_diverged(&self, entry: &Entry<'a>) -> bool {
        self.diverged.any()
            && (self.diverged.has(Mark::Path, entry.hash())
                || self.in_diverged_subtree(entry.path()))
    }

    /// Whether names were added to a directory or removed from it.
    pub fn listing_diverged(&self, entry: &Entry<'a>) -> bool {
        self.diverged.has(Mark::Listing, entry.hash())
    }

    /// Whether a directory has names that the index does not have.
    pub fn has_new_names(&self, entry: &Entry<'a>) -> bool {
        self.diverged.has(Mark::NewNames, entry.hash())
    }

    /// Finds where a path leads in the common cases. `None` if only [`walk`](crate::decide::walk::walk) can tell.
    #[inline]
    pub fn find_fast(&self, path: &[u8], follow: Follow) -> Option<Found<'a>> {
        if self.prefix_of(path).is_none() {
            // A path with `//`, `/./` or `/../` may still lead under a prefix.
            return if may_be_odd(path) { None } else { Some(Found::Outside) };
        }
        self.find_inside(path, follow)
    }

    /// [`find_fast`](Self::find_fast) for a path that is spelled under a prefix.
    #[inline(never)]
    pub fn find_inside(&self, path: &[u8], follow: Follow) -> Option<Found<'a>> {
        match self.index.find(path) {
            Lookup::Found(entry) if entry.kind() == Kind::Symlink && follow.is_yes() => {
                return None;
            }
            Lookup::Found(entry) if self.entry_diverged(&entry) => return Some(Found::Unknown),
            Lookup::Found(entry) => return Some(Found::Entry(entry)),
            Lookup::Damaged => return Some(Found::Unknown),
            Lookup::Absent => {}
        }
        if self.diverged.any() {
            return None;
        }
        let (parent, name) = at_last_slash(path)?;
        let name = name.strip_prefix(b"/")?;
        if name.is_empty() || name == b"." || name == b".." || name.len() > NAME_MAX {
            return None;
        }
        let parent = self.index.lookup(parent)?;
        match parent.kind() {
            Kind::Directory if self.mode(&parent) == PrefixMode::Snapshot => {
                Some(Found::Absent { errno: ENOENT, last: true })
            }
            Kind::File => Some(Found::Absent { errno: ENOTDIR, last: false }),
            _ => None,
        }
    }

    pub(super) fn mode(&self, entry: &Entry<'a>) -> PrefixMode {
        self.index.prefix(entry.prefix()).map_or(PrefixMode::Overlay, |p| p.mode)
    }

    /// Decides what a hook does with a path that leads to `walked.found`.
    pub fn decide(&self, walked: Walked<'a>, want: Want) -> Decision<'a> {
        match walked.found {
            Found::Outside => Decision::Outside,
            Found::Unknown | Found::Unlisted => Decision::Pass,
            Found::Leaves => Decision::PassAs(walked.len),
            Found::Absent { errno, .. } => Decision::Absent(errno),
            Found::Entry(e) => match want {
                Want::Attributes => self.attributes(e),
                Want::Name => Decision::Redirect(e),
                Want::Data(flags) => self.data(e, flags),
                Want::Program => self.program(e),
            },
        }
    }

    fn attributes(&self, e: Entry<'a>) -> Decision<'a> {
        // When names in a directory change, the directory's times and link count change too.
        if e.kind() == Kind::Directory && self.listing_diverged(&e) {
            Decision::Pass
        } else {
            Decision::Redirect(e)
        }
    }

    fn data(&self, e: Entry<'a>, flags: c_int) -> Decision<'a> {
        let has = |f| flags & f == f;
        match e.kind() {
            Kind::Directory if self.listing_diverged(&e) => Decision::Pass,
            Kind::Directory => Decision::Redirect(e),
            Kind::Other if has(libc::O_DIRECTORY) => Decision::Absent(ENOTDIR),
            Kind::Other => Decision::Pass,
            Kind::File if has(libc::O_DIRECTORY) => Decision::Absent(ENOTDIR),
            // An O_PATH descriptor cannot carry the flags that mark a staged descriptor. A directory is opened for
            // reading instead.
            Kind::File if has(libc::O_PATH) || e.is_remote() => Decision::Pass,
            Kind::File => Decision::Redirect(e),
            // Only an open with O_NOFOLLOW reaches a link. O_PATH passes, because the staged link's target differs from
            // the original's.
            Kind::Symlink if has(libc::O_DIRECTORY) => Decision::Absent(ENOTDIR),
            Kind::Symlink if has(libc::O_PATH) => Decision::Pass,
            Kind::Symlink => Decision::Absent(ELOOP),
        }
    }

    fn program(&self, e: Entry<'a>) -> Decision<'a> {
        match e.kind() {
            Kind::File if e.is_remote() => Decision::Pass,
            Kind::File => Decision::Redirect(e),
            Kind::Directory => Decision::Absent(EACCES),
            _ => Decision::Pass,
        }
    }
}
