//! Leads the loader of programs to the originals of what had diverged before they started: on another node, in a stage from
//! which this one was made, or while no program used the stage. The loader searches the stage's directories itself and asks
//! no index; the shim does the same for what programs change (`preload/core/src/stage/changed_library.rs`).
//!
//! Invariant: nothing is changed outside the stage. A link in the stage may lead to a directory of the original, so each change
//! is made in a directory that is open and known to be the stage's own.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyshm_format::layout::{self, is_library};
use pyshm_format::state::Mark;
use pyshm_format::{Diverged, Entry, Index, Kind, hash_path};
use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};

use crate::stage::ownership;

/// The staged tree of a stage.
struct Tree<'a> {
    /// The stage's directory, without symbolic links.
    dir: PathBuf,
    index: Index<'a>,
}

/// Puts links to the originals into the stage in `dir`, as its marks say. What fails is left out: then the loader finds the
/// staged copy.
pub(super) fn lead(dir: &Path, diverged: &Diverged<'_>) {
    let Ok(bytes) = ownership::read(&dir.join(layout::INDEX)) else { return };
    let (Ok(index), Ok(dir)) = (Index::parse(&bytes), dir.canonicalize()) else { return };
    let tree = Tree { dir, index };
    let all = || (0..index.len()).filter_map(|n| index.entry(n));
    let has = |e: &Entry<'_>, mark| diverged.has(mark, e.hash());
    // What lies below such a directory does not count any more.
    let is_gone = |e: &Entry<'_>| {
        let mut above = ends(e.path()).filter_map(|end| e.path().get(..end));
        diverged.any_subtree() && above.any(|dir| diverged.has(Mark::Subtree, hash_path(dir)))
    };
    for entry in all() {
        let searched = match entry.kind() {
            Kind::Directory => {
                if !diverged.is_closed() && has(&entry, Mark::Listing) {
                    tree.add_new_names(&entry);
                }
                false
            }
            Kind::Symlink => true,
            Kind::File => is_library(entry.path()),
            Kind::Other => false,
        };
        if searched && (has(&entry, Mark::Path) || is_gone(&entry)) {
            tree.replace(entry.path());
        }
    }
}

/// Where the paths of the directories above a path end.
fn ends(path: &[u8]) -> impl Iterator<Item = usize> {
    path.iter().enumerate().skip(1).filter(|(_, b)| **b == b'/').map(|(end, _)| end)
}

/// A directory of the staged tree, open, and the name in it.
type Place<'p> = (OwnedFd, &'p OsStr);

impl Tree<'_> {
    /// Opens the directory in which a path lies. `None` if that is not the stage's own.
    fn place<'p>(&self, path: &'p [u8]) -> Option<Place<'p>> {
        let path = Path::new(OsStr::from_bytes(path));
        let above = self.dir.join(layout::FS).join(path.parent()?.strip_prefix("/").ok()?);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, &above, flags, Mode::empty()).ok()?;
        let opened = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        (std::fs::read_link(opened).ok()? == above).then_some((fd, path.file_name()?))
    }

    /// Makes a change in a directory, which keeps the time that shows that it is whole.
    fn change(&self, path: &[u8], how: impl FnOnce(&Place<'_>)) {
        let Some(place) = self.place(path) else { return };
        how(&place);
        let above = path.iter().rposition(|&b| b == b'/').and_then(|end| path.get(..end));
        if let Some(e) = above.and_then(|above| self.index.lookup(above)) {
            let time = e.stat().mtime;
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: time.sec, tv_nsec: time.nsec.into() },
            };
            let _ = rustix::fs::futimens(&place.0, &times);
        }
    }

    /// Puts a link in the place of a file or another link.
    fn replace(&self, path: &[u8]) {
        self.change(path, |(fd, name)| {
            let link = self.dir.join(format!("link.{}", std::process::id()));
            let _ = std::fs::remove_file(&link);
            let made = rustix::fs::symlinkat(path, CWD, &link)
                .and_then(|()| rustix::fs::renameat(CWD, &link, fd, *name));
            if made.is_err() {
                let _ = std::fs::remove_file(&link);
            }
        });
    }

    /// Adds links to the names in a directory that the index does not have.
    fn add_new_names(&self, directory: &Entry<'_>) {
        let Ok(names) = std::fs::read_dir(OsStr::from_bytes(directory.path())) else { return };
        for name in names.filter_map(Result::ok) {
            let path = name.path();
            let path = path.as_os_str().as_bytes();
            let is_file = || name.file_type().is_ok_and(|kind| kind.is_file());
            if self.index.lookup(path).is_none() && (is_library(path) || !is_file()) {
                self.change(path, |(fd, name)| {
                    let _ = rustix::fs::symlinkat(path, fd, *name);
                });
            }
        }
    }
}
