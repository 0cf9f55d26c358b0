//! Holds the state of the bare run's processes before a step, and tells where an object lies.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::state::{Slot, State};

/// The state of the bare run's processes before a step.
pub struct Now<'a> {
    pub root: &'a Path,
    /// The process that performs the step.
    pub state: &'a State,
    /// All other living processes.
    pub others: &'a [State],
    /// Inodes that are mapped.
    pub mapped: &'a [u64],
}

impl Now<'_> {
    /// The descriptor that a word names.
    pub fn slot(&self, word: &str) -> Option<&Slot> {
        let number: usize = word.strip_prefix('s')?.parse().ok()?;
        self.state.slots.iter().find(|slot| slot.number == number)
    }

    /// Whether the process is root.
    pub(super) fn is_privileged(&self) -> bool {
        self.state.identity.starts_with("0:")
    }

    /// The prefixes that may be staged.
    pub(super) fn prefixes(&self) -> [PathBuf; 2] {
        ["p/env", "p/env2"].map(|name| self.root.join(name))
    }

    /// Whether a real path lies under a prefix.
    pub(super) fn is_under_a_prefix(&self, path: &Path) -> bool {
        self.prefixes().iter().any(|prefix| path.starts_with(prefix))
    }

    /// The path with all symbolic links resolved, except that the last name may be a symbolic link.
    fn real(&self, path: &Path) -> Option<PathBuf> {
        let name = path.file_name()?;
        if path.parent().is_some_and(|dir| dir.starts_with("/proc") && dir.ends_with("fd")) {
            // The path is the name of a descriptor.
            return fs::read_link(path).ok();
        }
        Some(fs::canonicalize(path.parent()?).ok()?.join(name))
    }

    /// The absolute path that a word means if no name in the word is a symbolic link.
    pub(super) fn as_written(&self, word: &str) -> PathBuf {
        let text = crate::tree::fill(word, self.root);
        let mut path = PathBuf::new();
        for part in self.state.cwd.join(text).components() {
            match part {
                Component::ParentDir => drop(path.pop()),
                part => path.push(part),
            }
        }
        path
    }

    /// Whether an object lies under a prefix, even if `path` leads to it from outside.
    pub(super) fn is_inside(&self, path: &Path) -> bool {
        self.real(path).is_some_and(|path| self.is_under_a_prefix(&path))
    }

    /// Whether an object lies above a prefix, is a prefix, or is a symbolic link outside every prefix.
    pub(super) fn is_above(&self, path: &Path, meta: &fs::Metadata) -> bool {
        let Some(real) = self.real(path) else { return true };
        self.prefixes().iter().any(|prefix| prefix.starts_with(&real))
            || (meta.is_symlink() && !self.is_under_a_prefix(&real))
    }

    /// All living processes.
    pub(super) fn states(&self) -> impl Iterator<Item = &State> {
        std::iter::once(self.state).chain(self.others)
    }

    /// Whether a descriptor or mapping reads a file.
    pub(super) fn is_read(&self, ino: u64) -> bool {
        self.mapped.contains(&ino)
            || self
                .states()
                .flat_map(|state| &state.slots)
                .any(|slot| slot.ino == ino && !slot.writes())
    }

    /// Whether a process has opened the object or an object below it, or has one of these as its working directory.
    pub(super) fn is_held(&self, path: &Path, meta: &fs::Metadata) -> bool {
        let Some(real) = self.real(path) else { return true };
        self.states().any(|state| {
            state.cwd.starts_with(&real)
                || state
                    .slots
                    .iter()
                    .any(|slot| slot.ino == meta.ino() || Path::new(&slot.name).starts_with(&real))
                || !state.streams.is_empty() && meta.is_dir()
        }) || self.mapped.contains(&meta.ino())
    }
}
