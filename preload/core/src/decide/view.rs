//! The decision: what becomes of one operation on one absolute path.
//!
//! Pure: it looks at the index, the diverged set and the path, asks no kernel and allocates nothing. Hooks obey it.
//!
//! What must stay true:
//! - A path is answered only when the index proves the answer; whatever is unclear, or damaged in the index, passes to
//!   the kernel unchanged.
//! - `..` is taken back only from a directory whose path is known to be free of symbolic links.
//! - The common cases (a known path, a missing name in a known directory) never touch the 8 KB of [`Scratch`].
#![forbid(unsafe_code)]

use libc::{EACCES, ELOOP, ENOENT, ENOTDIR, c_int};
use pyshm_format::index::PrefixMode;
use pyshm_format::state::Mark;
use pyshm_format::{Diverged, Entry, Index, Kind, Lookup, hash_path};

use crate::base::text::at_last_slash;
use crate::decide::spelling::may_be_odd;

/// Longest name of a directory entry.
pub const NAME_MAX: usize = 255;

/// What decisions are made from.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The stage's index.
    pub index: Index<'a>,
    /// What no longer holds.
    pub diverged: Diverged<'a>,
    /// The leading bytes that all spellings of all prefixes share: most paths are outside by these alone.
    common: &'a [u8],
}

/// Why an operation asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The recorded attributes: stat, access, readlink, realpath.
    Attributes,
    /// The data, to open it with these flags, which do not write.
    Data(c_int),
    /// Whether there is such a name.
    Name,
    /// A program or library that the staged copy stands in for.
    Program,
}

/// What a hook has to do.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'a> {
    /// Call the real function with the caller's own path; nothing of ours is concerned.
    Outside,
    /// Call the real function with the caller's own path, which lies under a prefix.
    Pass,
    /// Call the real function with the path in [`Scratch::path`]: a symbolic link led out of the prefixes.
    PassAs(usize),
    /// The entry answers, or its staged file is used.
    Redirect(Entry<'a>),
    /// Fail with this error number.
    Absent(c_int),
}

/// Where a path leads.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// Never under a prefix.
    Outside,
    /// Under a prefix, but not for us to answer.
    Unknown,
    /// Led out of the prefixes, to the path in the scratch.
    Leaves,
    /// This entry.
    Entry(Entry<'a>),
    /// The kernel would give this error; `last` if it is only the last name that is missing.
    Absent { errno: c_int, last: bool },
}

/// Where a path leads, and the length of its resolved spelling in the scratch (as far as it got).
#[derive(Debug, Clone, Copy)]
pub struct Walked<'a> {
    /// Where.
    pub found: Found<'a>,
    /// Length of the resolved path.
    pub len: usize,
}

impl<'a> View<'a> {
    /// Prepares decisions from an index and a diverged set.
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

    /// Whether the absolute path lies at or under a prefix by its spelling alone; its prefix's number.
    #[inline]
    pub fn prefix_of(&self, path: &[u8]) -> Option<usize> {
        // One byte tells most paths apart, where comparing from the beginning would go far.
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

    /// Whether `path` is a proper ancestor of a canonical prefix, and so free of symbolic links itself.
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

    /// Whether a path itself, or a directory above it, changed.
    pub fn entry_diverged(&self, entry: &Entry<'a>) -> bool {
        self.diverged.any()
            && (self.diverged.has(Mark::Path, entry.hash())
                || self.in_diverged_subtree(entry.path()))
    }

    /// Whether the names in a directory changed.
    pub fn listing_diverged(&self, entry: &Entry<'a>) -> bool {
        self.diverged.has(Mark::Listing, entry.hash())
    }

    /// Answers the common cases without scratch memory; `None` where [`walk`](Self::walk) has to.
    #[inline]
    pub fn find_fast(&self, path: &[u8], follow: bool) -> Option<Found<'a>> {
        if self.prefix_of(path).is_none() {
            // `//` and `/./` and `/../` may still lead under a prefix.
            return if may_be_odd(path) { None } else { Some(Found::Outside) };
        }
        self.find_inside(path, follow)
    }

    #[inline(never)]
    fn find_inside(&self, path: &[u8], follow: bool) -> Option<Found<'a>> {
        match self.index.find(path) {
            Lookup::Found(entry) if entry.kind() == Kind::Symlink && follow => return None,
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

    /// Turns where a path leads into what to do about it.
    pub fn decide(&self, walked: Walked<'a>, want: Want) -> Decision<'a> {
        match walked.found {
            Found::Outside => Decision::Outside,
            Found::Unknown => Decision::Pass,
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
        // A changed listing changes the directory's times and link count.
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
            // A descriptor of O_PATH cannot be marked as a staged one's; for a directory one that reads stands for it.
            Kind::File if has(libc::O_PATH) || e.is_remote() => Decision::Pass,
            Kind::File => Decision::Redirect(e),
            // Only O_NOFOLLOW comes here. The staged link has another text than the original: O_PATH passes.
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
