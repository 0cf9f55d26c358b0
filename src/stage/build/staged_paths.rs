//! Follows paths through the staged tree, as the kernel will when the dynamic loader searches there.
//!
//! The stage has nothing beside its prefixes. Where a relative link, or `$ORIGIN` in a search path, climbs out of a
//! prefix, the stage needs a link to the original directory: an *exit*.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::manifest::Stack;
use crate::manifest::entry::{EntryKind, EntryRecord};

/// Number of symbolic links that the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// Where a path leads.
#[derive(Debug, Clone, Copy)]
pub(super) enum End<'a> {
    /// To this entry of a bundle.
    Entry(&'a EntryRecord),
    /// To a name that no bundle has, or to a directory above a prefix.
    Nowhere,
    /// Out of the prefixes, by an absolute link or an exit.
    Outside,
}

/// The paths of a stage's bundles.
pub(super) struct StagedPaths<'a> {
    stack: &'a Stack,
    entries: OnceCell<HashMap<&'a [u8], &'a EntryRecord>>,
    linked: OnceCell<HashSet<&'a [u8]>>,
}

impl<'a> StagedPaths<'a> {
    /// The paths of `stack`.
    pub(super) fn new(stack: &'a Stack) -> Self {
        Self { stack, entries: OnceCell::new(), linked: OnceCell::new() }
    }

    /// Returns `path` with the real spelling of its prefix; `None` if it lies below no prefix.
    pub(super) fn real(&self, path: &Path) -> Option<PathBuf> {
        for prefix in self.stack.prefixes() {
            for spelling in prefix.spellings() {
                if let Ok(rest) = path.strip_prefix(spelling) {
                    return Some(prefix.path().join(rest));
                }
            }
        }
        None
    }

    /// The entry of a bundle that has this path.
    pub(super) fn entry(&self, path: &Path) -> Option<&'a EntryRecord> {
        let all = || self.stack.entries().map(|(_, e)| (e.path.as_slice(), e)).collect();
        self.entries.get_or_init(all).get(path.as_os_str().as_bytes()).copied()
    }

    /// Whether a symbolic link in another directory than its own leads to this file.
    pub(super) fn is_linked_from_elsewhere(&self, file: &EntryRecord) -> bool {
        let all = || {
            let links = self.stack.entries().filter_map(|(_, e)| match &e.kind {
                EntryKind::Symlink(target) => Some((e.path().parent()?, target)),
                _ => None,
            });
            let led = links.filter_map(|(parent, target)| {
                let target = Path::new(OsStr::from_bytes(target));
                match self.follow(parent, target).0 {
                    End::Entry(e) if e.path().parent() != Some(parent) => Some(e.path.as_slice()),
                    _ => None,
                }
            });
            led.collect()
        };
        self.linked.get_or_init(all).contains(file.path.as_slice())
    }

    /// Follows `path` from the directory `from`, and tells which exit it needs on its way.
    pub(super) fn follow(&self, from: &Path, path: &Path) -> (End<'a>, Option<PathBuf>) {
        let mut rest: VecDeque<OsString> = VecDeque::new();
        let mut at = if path.is_absolute() { PathBuf::from("/") } else { from.to_path_buf() };
        let mut links = 0;
        push(&mut rest, path);
        let mut end = self.entry(&at).map_or(End::Nowhere, End::Entry);
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                at.pop();
                end = self.entry(&at).map_or(End::Nowhere, End::Entry);
                continue;
            }
            let next = at.join(&name);
            let Some(entry) = self.entry(&next) else {
                if self.is_inside(&next) {
                    return (End::Nowhere, None);
                }
                if !self.is_above(&next) {
                    return (End::Outside, Some(next));
                }
                (at, end) = (next, End::Nowhere);
                continue;
            };
            let EntryKind::Symlink(target) = &entry.kind else {
                (at, end) = (next, End::Entry(entry));
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return (End::Nowhere, None);
            }
            let target = Path::new(OsStr::from_bytes(target));
            if target.is_absolute() {
                let Some(real) = self.real(target) else { return (End::Outside, None) };
                at = PathBuf::from("/");
                push(&mut rest, &real);
            } else {
                push(&mut rest, target);
            }
            end = End::Nowhere;
        }
        (end, None)
    }

    fn is_inside(&self, path: &Path) -> bool {
        self.stack.prefixes().iter().any(|prefix| path.starts_with(prefix.path()))
    }

    fn is_above(&self, path: &Path) -> bool {
        self.stack.prefixes().iter().any(|prefix| prefix.path().starts_with(path))
    }
}

/// Puts the names of `path` in front of what is still to be followed.
fn push(rest: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => rest.push_front(name.to_os_string()),
            Component::ParentDir => rest.push_front("..".into()),
            _ => {}
        }
    }
}
