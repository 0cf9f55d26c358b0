//! Resolves a path name by name through the index, as the kernel does through the file system.
//!
//! Invariant: `..` goes up only from a directory whose path is known to be free of symbolic links.
#![forbid(unsafe_code)]

use libc::{ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR};
use pyshm_format::index::PrefixMode;
use pyshm_format::state::Mark;
use pyshm_format::{Entry, Kind, Lookup, hash_path};

use crate::base::scratch::{PATH_MAX, Scratch};
use crate::base::text::{at_last_slash, put, replace_start, until};
use crate::decide::view::{Follow, Found, NAME_MAX, View, Walked};

/// Number of symbolic links that the kernel follows in one path.
const MAX_LINKS: u32 = 40;

/// Finds where an absolute path leads. Leaves the resolved path in the scratch, with a NUL behind it.
pub fn walk<'a>(view: &View<'a>, path: &[u8], follow: Follow, s: &mut Scratch) -> Walked<'a> {
    let mut walk = Walk {
        view,
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

/// The place that a walk has reached.
#[derive(Clone, Copy)]
enum Cur<'a> {
    /// A path outside the prefixes; `physical` if the path is known to contain no symbolic link.
    Outside { physical: bool },
    /// An entry of the index.
    Inside(Entry<'a>),
}

/// A walk: `s.out[..len]` is the path resolved so far (empty for `/`), and `s.rest[at..]` is still to be resolved.
struct Walk<'v, 'a> {
    view: &'v View<'a>,
    s: &'v mut Scratch,
    len: usize,
    at: usize,
    cur: Cur<'a>,
    links: u32,
    /// Whether the walk has been under a prefix.
    entered: bool,
    /// Whether a directory on the way diverged. Such a directory may have names that the index does not have.
    tainted: bool,
}

impl<'a> Walk<'_, 'a> {
    /// Puts `text` in front of the part that is still to be resolved.
    fn push(&mut self, text: &[u8]) -> Result<(), Found<'a>> {
        let from = self.at.checked_sub(text.len()).ok_or(TOO_LONG)?;
        put(&mut self.s.rest, from, text).ok_or(Found::Unknown)?;
        self.at = from;
        Ok(())
    }

    /// Appends `text` to the resolved path.
    fn append(&mut self, text: &[u8]) -> Result<(), Found<'a>> {
        self.len = put(with_nul(&mut self.s.out), self.len, text).ok_or(TOO_LONG)?;
        Ok(())
    }

    /// Appends `rest[start..end]` to the resolved path.
    fn append_rest(&mut self, start: usize, end: usize) -> Result<(), Found<'a>> {
        let Scratch { out, rest } = &mut *self.s;
        let text = rest.get(start..end).ok_or(Found::Unknown)?;
        self.len = put(with_nul(out), self.len, text).ok_or(TOO_LONG)?;
        Ok(())
    }

    /// Resolves all names.
    fn run(&mut self, follow: Follow) -> Result<Found<'a>, Found<'a>> {
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
                // In "x/.", as in "x/", x must be a directory.
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
            // A symbolic link that is not the last name is always followed.
            let last = after.iter().all(|&b| b == b'/');
            let follow = Follow::unless(!follow.is_yes() && !slash_at_end && last);
            self.step(start, last, follow)?;
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

    /// Goes up for `..`. Returns false if only the kernel knows where that leads.
    fn up(&mut self) -> Result<bool, Found<'a>> {
        if matches!(self.cur, Cur::Outside { physical: false }) {
            return Ok(false);
        }
        self.len = at_last_slash(resolved(self.s, self.len)?).map_or(0, |(parent, _)| parent.len());
        self.place(true, false)?;
        Ok(true)
    }

    /// Ends a walk outside the prefixes: appends `rest[start..]` unchanged to the resolved path, for the kernel to
    /// resolve.
    fn leave_rest(&mut self, start: usize) -> Result<Found<'a>, Found<'a>> {
        if !self.entered {
            return Ok(Found::Outside);
        }
        self.append(b"/")?;
        self.append_rest(start, PATH_MAX)?;
        Ok(Found::Leaves)
    }

    /// Sets `cur` by whether `out[..len]` lies under a prefix. `nofollow_last` says that the path ends here in a name
    /// that is not followed.
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
            // The alias may be a symbolic link, whose attributes only the kernel knows.
            if nofollow_last && out == prefix.path {
                return Err(Found::Unknown);
            }
            // A mark on the alias means that the link was replaced or removed.
            if view.in_diverged_subtree(prefix.path) {
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

    /// Resolves one name, `rest[start..at]`, and follows the name if it is a symbolic link.
    fn step(&mut self, start: usize, last: bool, follow: Follow) -> Result<(), Found<'a>> {
        let parent_len = self.len;
        self.append(b"/")?;
        self.append_rest(start, self.at)?;
        let dir = match self.cur {
            Cur::Outside { physical } => return self.place(physical, last && !follow.is_yes()),
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
            if view.mode(&dir) == PrefixMode::Overlay || (any && view.has_new_names(&dir)) {
                return Err(if last { Found::Unlisted } else { Found::Unknown });
            }
            return Err(Found::Absent { errno: ENOENT, last });
        };
        if any && view.entry_diverged(&entry) {
            if last || entry.kind() != Kind::Directory || view.in_diverged_subtree(path) {
                return Err(Found::Unknown);
            }
            self.tainted = true;
        }
        if entry.kind() != Kind::Symlink || !follow.is_yes() {
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

/// The buffer without its last byte, which is kept for a NUL.
fn with_nul(out: &mut [u8; PATH_MAX]) -> &mut [u8] {
    &mut out[..PATH_MAX - 1]
}

const TOO_LONG: Found<'static> = Found::Absent { errno: ENAMETOOLONG, last: false };
