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

use libc::{EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, c_int};
use pyshm_format::index::PrefixMode;
use pyshm_format::state::Mark;
use pyshm_format::{Diverged, Entry, Index, Kind, Lookup, hash_path};

pub use crate::scratch::{PATH_MAX, Scratch};
use crate::spelling::may_be_odd;
use crate::text::{at_last_slash, put, replace_start, until};

/// Longest name of a directory entry.
const NAME_MAX: usize = 255;
/// Symbolic links the kernel follows in one path.
const MAX_LINKS: u32 = 40;

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
    fn above_canonical(&self, path: &[u8]) -> bool {
        self.index
            .prefixes()
            .any(|p| p.canonical.strip_prefix(path).is_some_and(|r| r.first() == Some(&b'/')))
    }

    /// Whether a directory at or above `path` was moved away or replaced.
    fn in_diverged_subtree(&self, path: &[u8]) -> bool {
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

    fn mode(&self, entry: &Entry<'a>) -> PrefixMode {
        self.index.prefix(entry.prefix()).map_or(PrefixMode::Overlay, |p| p.mode)
    }

    /// Follows `path` component by component, as the kernel would.
    pub fn walk(&self, path: &[u8], follow: bool, s: &mut Scratch) -> Walked<'a> {
        let mut walk = Walk {
            view: self,
            s,
            len: 0,
            at: PATH_MAX,
            cur: Cur::Outside { physical: true },
            links: 0,
            entered: false,
            tainted: false,
        };
        let found = match walk.push(path) {
            Ok(()) => walk.run(follow).unwrap_or_else(|stop| stop),
            Err(stop) => stop,
        };
        let len = walk.len;
        if let Some(nul) = walk.s.out.get_mut(len) {
            *nul = 0;
        }
        Walked { found, len }
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

/// Where a walk stands.
#[derive(Clone, Copy)]
enum Cur<'a> {
    /// Outside the prefixes; `physical` while the path is known to contain no symbolic link.
    Outside { physical: bool },
    /// At this entry.
    Inside(Entry<'a>),
}

/// `s.out[..len]` is the path resolved so far (empty for `/`), `s.rest[at..]` what is still to come.
struct Walk<'v, 'a> {
    view: &'v View<'a>,
    s: &'v mut Scratch,
    len: usize,
    at: usize,
    cur: Cur<'a>,
    links: u32,
    entered: bool,
    /// A directory on the way diverged itself: names in it that the index does not know may exist.
    tainted: bool,
}

impl<'a> Walk<'_, 'a> {
    /// Puts `text` in front of what is still to come.
    fn push(&mut self, text: &[u8]) -> Result<(), Found<'a>> {
        let from = self.at.checked_sub(text.len()).ok_or(TOO_LONG)?;
        put(&mut self.s.rest, from, text).ok_or(Found::Unknown)?;
        self.at = from;
        Ok(())
    }

    fn append(&mut self, text: &[u8]) -> Result<(), Found<'a>> {
        self.len = put(with_nul(&mut self.s.out), self.len, text).ok_or(TOO_LONG)?;
        Ok(())
    }

    /// Appends what is to come from `start` to `end`.
    fn append_rest(&mut self, start: usize, end: usize) -> Result<(), Found<'a>> {
        let Scratch { out, rest } = &mut *self.s;
        let text = rest.get(start..end).ok_or(Found::Unknown)?;
        self.len = put(with_nul(out), self.len, text).ok_or(TOO_LONG)?;
        Ok(())
    }

    fn run(&mut self, follow: bool) -> Result<Found<'a>, Found<'a>> {
        let mut slash_at_end = false;
        loop {
            let mut rest = self.s.rest.get(self.at..).ok_or(Found::Unknown)?;
            while let [b'/', more @ ..] = rest {
                rest = more;
            }
            if rest.is_empty() {
                break;
            }
            let (name, after) = until(rest, |&b| b == b'/');
            let start = PATH_MAX - rest.len();
            self.at = PATH_MAX - after.len();
            slash_at_end = !after.is_empty();
            if let Cur::Inside(e) = self.cur
                && e.kind() != Kind::Directory
            {
                return Ok(Found::Absent { errno: ENOTDIR, last: false });
            }
            if name == b"." {
                // "x/." must be a directory, like "x/".
                slash_at_end = true;
                continue;
            }
            if name == b".." {
                slash_at_end = true;
                if self.up()? {
                    continue;
                }
                return self.leave_rest(start);
            }
            if name.len() > NAME_MAX {
                return Ok(Found::Unknown);
            }
            // Whether the rest has another name: a link that is not the last one is always followed.
            let last = after.iter().all(|&b| b == b'/');
            self.step(start, last, follow || slash_at_end || !last)?;
        }
        match self.cur {
            Cur::Inside(e) if slash_at_end && e.kind() != Kind::Directory => {
                Ok(Found::Absent { errno: ENOTDIR, last: false })
            }
            Cur::Inside(e) => Ok(Found::Entry(e)),
            Cur::Outside { .. } if !self.entered => Ok(Found::Outside),
            Cur::Outside { .. } => {
                if slash_at_end || self.len == 0 {
                    self.append(b"/")?;
                }
                Ok(Found::Leaves)
            }
        }
    }

    /// `..`; false where only the kernel knows what it means.
    fn up(&mut self) -> Result<bool, Found<'a>> {
        if matches!(self.cur, Cur::Outside { physical: false }) {
            return Ok(false);
        }
        self.len = at_last_slash(resolved(self.s, self.len)?).map_or(0, |(parent, _)| parent.len());
        self.place(true, false)?;
        Ok(true)
    }

    /// The kernel takes over outside the prefixes: the resolved part, then the rest as it is.
    fn leave_rest(&mut self, start: usize) -> Result<Found<'a>, Found<'a>> {
        if !self.entered {
            return Ok(Found::Outside);
        }
        self.append(b"/")?;
        self.append_rest(start, PATH_MAX)?;
        Ok(Found::Leaves)
    }

    /// Decides what `out[..len]` is when it may be outside. `nofollow_last`: the path ends here and is not followed.
    fn place(&mut self, physical: bool, nofollow_last: bool) -> Result<(), Found<'a>> {
        let view = self.view;
        let out = resolved(self.s, self.len)?;
        let Some(number) = view.prefix_of(out) else {
            let physical = physical && (out.is_empty() || view.above_canonical(out));
            self.cur = Cur::Outside { physical };
            return Ok(());
        };
        self.entered = true;
        let Some(prefix) = view.index.prefix(number) else { return Err(Found::Unknown) };
        if prefix.path != prefix.canonical {
            // The alias itself may be a symbolic link; only the kernel can say what it looks like.
            if nofollow_last && out == prefix.path {
                return Err(Found::Unknown);
            }
            let room = with_nul(&mut self.s.out);
            self.len = replace_start(room, self.len, prefix.path.len(), prefix.canonical)
                .ok_or(TOO_LONG)?;
        }
        let entry = view.index.lookup(resolved(self.s, self.len)?).ok_or(Found::Unknown)?;
        if view.entry_diverged(&entry) {
            if entry.kind() != Kind::Directory || view.in_diverged_subtree(entry.path()) {
                return Err(Found::Unknown);
            }
            self.tainted = true;
        }
        self.cur = Cur::Inside(entry);
        Ok(())
    }

    /// One name, `rest[start..at]`.
    fn step(&mut self, start: usize, last: bool, follow: bool) -> Result<(), Found<'a>> {
        let parent_len = self.len;
        self.append(b"/")?;
        self.append_rest(start, self.at)?;
        let dir = match self.cur {
            Cur::Outside { physical } => return self.place(physical, last && !follow),
            Cur::Inside(dir) => dir,
        };
        let view = self.view;
        let path = resolved(self.s, self.len)?;
        let any = view.diverged.any();
        let found = view.index.find(path);
        if let Lookup::Damaged = found {
            return Err(Found::Unknown);
        }
        let Some(entry) = found.found() else {
            if any {
                let hash = hash_path(path);
                let known =
                    view.diverged.has(Mark::Path, hash) || view.diverged.has(Mark::Subtree, hash);
                if known || self.tainted || view.in_diverged_subtree(path) {
                    return Err(Found::Unknown);
                }
            }
            if view.mode(&dir) == PrefixMode::Overlay {
                return Err(Found::Unknown);
            }
            return Err(Found::Absent { errno: ENOENT, last });
        };
        if any && view.entry_diverged(&entry) {
            if last || entry.kind() != Kind::Directory || view.in_diverged_subtree(path) {
                return Err(Found::Unknown);
            }
            self.tainted = true;
        }
        if entry.kind() != Kind::Symlink || !follow {
            self.cur = Cur::Inside(entry);
            return Ok(());
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Found::Absent { errno: ELOOP, last: false });
        }
        let target = entry.target();
        if target.is_empty() {
            return Err(Found::Unknown);
        }
        self.push(target)?;
        self.len = parent_len;
        if target.first() == Some(&b'/') {
            self.len = 0;
            self.cur = Cur::Outside { physical: true };
        }
        Ok(())
    }
}

/// The path resolved so far.
fn resolved(s: &Scratch, len: usize) -> Result<&[u8], Found<'static>> {
    s.out.get(..len).ok_or(Found::Unknown)
}

/// Room for a path that a NUL can follow.
fn with_nul(out: &mut [u8; PATH_MAX]) -> &mut [u8] {
    &mut out[..PATH_MAX - 1]
}

const TOO_LONG: Found<'static> = Found::Absent { errno: ENAMETOOLONG, last: false };
