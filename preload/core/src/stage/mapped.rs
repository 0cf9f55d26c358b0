//! Holds the mapped stage, and translates between original paths and paths in the stage.

use pyshm_format::state::Operation;
use pyshm_format::{Entry, Index, Lookup, OutsidePrograms, layout};

use crate::base::scratch::PATH_MAX;
use crate::base::sys;
use crate::base::text::join;
use crate::decide::view::View;

/// Length in bytes of the longest path of a stage's directory. The longer paths of the stage's files must fit into
/// PATH_MAX.
pub const STAGE_MAX: usize = 1024;

/// A stage that passed all checks. It lives as long as the process.
pub struct Stage {
    /// The index and the set of diverged paths.
    pub view: View<'static>,
    /// Device of the stage's file system.
    pub dev: u64,
    /// Whether the stage's file system forbids executing files and mapping them executable.
    pub noexec: bool,
    /// A number that selects which counters of the state file this process uses.
    pub stripe: usize,
    /// The set of programs that are known to lie outside every prefix.
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

    /// Whether the staged shim still exists.
    pub fn shim_exists(&self) -> bool {
        let mut name = [0; STAGE_MAX + 32];
        join(&mut name, &[self.dir(), b"/", layout::SHIM.as_bytes(), b"\0"]).is_some_and(|_| {
            // SAFETY: `join` wrote the NUL.
            unsafe { sys::faccessat(libc::AT_FDCWD, name.as_ptr().cast(), 0, 0) }.is_ok()
        })
    }

    /// Whether a prefix lies on this device, or may lie there because the index does not have its device.
    pub fn has_prefix_on(&self, dev: u64) -> bool {
        let index = self.index();
        index.prefixes().any(|p| match index.find(p.canonical) {
            Lookup::Found(e) => e.stat().dev == dev,
            Lookup::Absent | Lookup::Damaged => true,
        })
    }

    /// Whether a path of the index no longer names the file that was staged.
    pub fn is_replaced(&self, path: &[u8]) -> bool {
        self.index().lookup(path).is_some_and(|e| self.is_gone(&e))
    }

    /// Whether the path of an entry no longer names the file that was staged.
    pub fn is_gone(&self, e: &Entry<'static>) -> bool {
        if !self.view.entry_diverged(e) {
            return false;
        }
        let was = e.stat();
        // SAFETY: an entry's path has a NUL behind it.
        let now = unsafe { sys::lstat(e.path().as_ptr().cast()) };
        !now.is_ok_and(|now| (now.st_dev, now.st_ino) == (was.dev, was.ino))
    }

    /// Writes the staged name of an absolute path, `<stage>/fs<path>` and a NUL, into `name`. `None` if the staged name
    /// does not fit.
    pub fn staged_name(&self, path: &[u8], name: &mut [u8; PATH_MAX]) -> Option<()> {
        join(name, &[self.dir(), b"/fs", path, b"\0"]).map(|_| ())
    }

    /// The original path that a path in the stage stands for, which is the path's tail. `None` for any other path.
    pub fn original<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let below = path.strip_prefix(self.dir())?;
        let tail = below.strip_prefix(b"/fs").or_else(|| below.strip_prefix(b"/orig"))?;
        (tail.first() == Some(&b'/')).then_some(tail)
    }

    /// An original path without ` (deleted)`, which the kernel appends to a removed file's name.
    pub fn without_deleted<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        path.strip_suffix(b" (deleted)")
            .filter(|_| self.view.index.lookup(path).is_none())
            .unwrap_or(path)
    }

    /// The start and end of the original path within a path in the stage. `None` for any other path.
    pub fn original_range(&self, path: &[u8]) -> Option<(usize, usize)> {
        let original = self.original(path)?;
        let start = path.len() - original.len();
        Some((start, start + self.without_deleted(original).len()))
    }
}
