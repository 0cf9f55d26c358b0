//! The mapped stage, and translation between original paths and paths in the stage.

use pyshm_format::state::Operation;
use pyshm_format::{Entry, Index, Lookup, OutsidePrograms, layout};

use crate::base::scratch::PATH_MAX;
use crate::base::sys::{self, Ids};
use crate::base::text::join;
use crate::decide::view::View;

/// Longest directory of a stage, in bytes: paths below it must fit into PATH_MAX.
pub const STAGE_MAX: usize = 1024;

/// A stage that passed all checks. It lives as long as the process.
pub struct Stage {
    /// The index and what diverged from it.
    pub view: View<'static>,
    /// Device of the stage's file system.
    pub dev: u64,
    /// Whether its files may not be executed or mapped executable.
    pub noexec: bool,
    /// Which counters of the state file this process uses.
    pub stripe: usize,
    /// Programs outside every prefix.
    pub outside_programs: OutsidePrograms<'static>,
}

impl Stage {
    /// The stage's index.
    pub fn index(&self) -> &Index<'static> {
        &self.view.index
    }

    /// The stage's directory.
    pub fn dir(&self) -> &'static [u8] {
        self.view.index.stage()
    }

    /// Counts an operation under a prefix.
    pub fn count(&self, operation: Operation) {
        self.view.diverged.count(self.stripe, operation);
    }

    /// Whether `path` names the staged shim.
    pub fn is_shim(&self, path: &[u8]) -> bool {
        let name = path.strip_prefix(self.dir()).and_then(|rest| rest.strip_prefix(b"/"));
        name == Some(layout::SHIM.as_bytes())
    }

    /// Whether the staged shim still exists, and a program that this process starts will load it: not if the user has changed.
    pub fn shim_exists(&self) -> bool {
        // The loader ignores LD_PRELOAD where the effective user is another than the real one, who is asked below.
        if sys::uid(Ids::Effective) != self.index().writers(0).seen_by() {
            return false;
        }
        let mut name = [0; STAGE_MAX + 32];
        join(&mut name, &[self.dir(), b"/", layout::SHIM.as_bytes(), b"\0"]).is_some_and(|_| {
            // SAFETY: a C string.
            unsafe { sys::faccessat(libc::AT_FDCWD, name.as_ptr().cast(), 0, 0) }.is_ok()
        })
    }

    /// Whether a prefix lies on this device, or may.
    pub fn has_prefix_on(&self, dev: u64) -> bool {
        let index = self.index();
        index.prefixes().any(|p| match index.find(p.canonical) {
            Lookup::Found(e) => e.stat().dev == dev,
            Lookup::Absent | Lookup::Damaged => true,
        })
    }

    /// Whether a path of the index names another file now than the staged one, or none.
    pub fn is_replaced(&self, path: &[u8]) -> bool {
        self.index().lookup(path).is_some_and(|e| self.is_gone(&e))
    }

    /// Whether the path of an entry names another file now than the staged one, or none.
    pub fn is_gone(&self, e: &Entry<'static>) -> bool {
        if !self.view.entry_diverged(e) {
            return false;
        }
        let was = e.stat();
        // SAFETY: an entry's path has a NUL behind it.
        let now = unsafe { sys::lstat(e.path().as_ptr().cast()) };
        !now.is_ok_and(|now| (now.st_dev, now.st_ino) == (was.dev, was.ino))
    }

    /// Writes the staged name of an absolute path, `<stage>/fs<path>` and a NUL, into `name`; `None` if it does not
    /// fit.
    pub fn staged_name(&self, path: &[u8], name: &mut [u8; PATH_MAX]) -> Option<()> {
        join(name, &[self.dir(), b"/fs", path, b"\0"]).map(|_| ())
    }

    /// The original path that a path in the stage stands for: its tail.
    pub fn original<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let below = path.strip_prefix(self.dir())?;
        let tail = below.strip_prefix(b"/fs").or_else(|| below.strip_prefix(b"/orig"))?;
        (tail.first() == Some(&b'/')).then_some(tail)
    }

    /// An original path without the text that the kernel appends to a removed file's name.
    pub fn without_deleted<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        path.strip_suffix(b" (deleted)")
            .filter(|_| self.view.index.lookup(path).is_none())
            .unwrap_or(path)
    }

    /// Start and end of the original path in a path in the stage.
    pub fn original_range(&self, path: &[u8]) -> Option<(usize, usize)> {
        let original = self.original(path)?;
        let start = path.len() - original.len();
        Some((start, start + self.without_deleted(original).len()))
    }
}
