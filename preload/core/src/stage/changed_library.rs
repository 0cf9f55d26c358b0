//! Leads the dynamic loader to the original of what changed.
//!
//! The loader searches the stage's directories itself and asks no index, so neither marks nor the closing of the stage reach
//! it. Where the name of a library or of a symbolic link is marked, or does not count any more with all around it, the stage
//! gets a symbolic link to the original in the place of its copy. A name that is made gets one too. A process that has mapped
//! or opened the copy keeps it.
//!
//! Invariants:
//! - A directory of the stage stays one. If a link took its place, a program that removes the stage by paths that it has
//!   listed before would remove originals.
//! - Nothing is changed outside the stage. A link may lead to a directory of the original, so each change is made in a
//!   directory that is open and known to be the stage's own.

use core::ffi::{CStr, c_char, c_int};

use libc::{AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_RDONLY};
use pyshm_format::layout::is_library;
use pyshm_format::{Entry, Kind, Reason};

use crate::base::buffer::Buffer;
use crate::base::sys;
use crate::base::text::{at_last_slash, decimal, join};
use crate::stage::descriptor::fd_target;
use crate::stage::mapped::Stage;

/// A directory of the stage, open, in which a name changes.
struct Parent {
    fd: c_int,
    /// `<stage>/fs`, and the original path of the name, with a NUL behind it.
    name: Buffer,
    /// Where the original path begins and where its last name does.
    path: usize,
    last: usize,
}

impl Parent {
    /// Opens the directory in which `path` lies. `None` if that is not the stage's own.
    #[inline(never)]
    fn of(stage: &Stage, path: &[u8]) -> Option<Self> {
        let (above, _) = at_last_slash(path)?;
        let mut name = Buffer::zeroed();
        stage.staged_name(above, &mut name)?;
        // SAFETY: `staged_name` wrote a NUL.
        let fd = unsafe {
            let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
            sys::openat(AT_FDCWD, name.as_ptr().cast(), flags)
        }
        .ok()?;
        let mut opened = Self {
            fd,
            name,
            path: stage.index().fs_len(),
            last: stage.index().fs_len() + above.len() + 1,
        };
        if !opened.is_of(stage) {
            return None;
        }
        stage.staged_name(path, &mut opened.name)?;
        Some(opened)
    }

    /// Whether the descriptor is of the directory that the name says: no link led elsewhere.
    fn is_of(&self, stage: &Stage) -> bool {
        let own = sys::fstat(self.fd).is_ok_and(|st| st.st_dev == stage.dev);
        let mut target = Buffer::zeroed();
        own && CStr::from_bytes_until_nul(&self.name).is_ok_and(|name| {
            fd_target(self.fd, &mut target).is_some_and(|target| target == name.to_bytes())
        })
    }

    fn original(&self) -> *const c_char {
        self.name.as_ptr().wrapping_add(self.path).cast()
    }

    fn last(&self) -> *const c_char {
        self.name.as_ptr().wrapping_add(self.last).cast()
    }

    /// The attributes of the name.
    fn named(&self) -> sys::Result<libc::stat> {
        // SAFETY: a tail of a C string.
        unsafe { sys::fstatat(self.fd, self.last(), libc::AT_SYMLINK_NOFOLLOW) }
    }

    /// Makes the link, if the name is free.
    fn link(&self) {
        // SAFETY: both are tails of a C string.
        let _ = unsafe { sys::symlinkat(self.original(), self.fd, self.last()) };
    }

    /// Puts the link in the place of a file or another link, at once.
    #[inline(never)]
    fn replace(&self, stage: &Stage) {
        // What was removed from the stage stays so, and a link that leads there already.
        let kind = self.named().map_or(0, |st| st.st_mode & libc::S_IFMT);
        if kind != libc::S_IFREG && kind != libc::S_IFLNK {
            return;
        }
        let mut name = Buffer::zeroed();
        let mut digits = [0; 10];
        let thread = decimal(sys::thread_number(), &mut digits);
        if join(&mut name, &[stage.dir(), b"/link.", thread, b"\0"]).is_none() {
            return;
        }
        let link: *const c_char = name.as_ptr().cast();
        // SAFETY: C strings.
        unsafe {
            // A killed process may have left a link of this name.
            sys::unlink(link);
            match sys::symlinkat(self.original(), AT_FDCWD, link) {
                Ok(_) => {
                    // An exchange fails where the name was removed meanwhile: who removes the stage must find its
                    // directories empty.
                    let how = libc::RENAME_EXCHANGE;
                    let _ = sys::renameat2(AT_FDCWD, link, self.fd, self.last(), how);
                    sys::unlink(link);
                }
                // Where memory is full, the copy makes room for the link.
                Err(libc::ENOSPC | libc::EDQUOT) => {
                    if sys::unlinkat(self.fd, self.last()).is_ok() {
                        self.link();
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Gives the directory the time back that shows that it is whole.
    fn restore_time(&self, stage: &Stage) {
        // SAFETY: a tail of a C string.
        let path = unsafe { CStr::from_ptr(self.original()) }.to_bytes();
        if let Some(e) = at_last_slash(path).and_then(|(above, _)| stage.index().lookup(above)) {
            let time = e.stat().mtime;
            sys::set_modified(self.fd, time.sec, time.nsec);
        }
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        sys::close(self.fd);
    }
}

/// Changes a name in the stage, which never counts as a change of its directory. Whether the directory is the stage's own.
fn change(stage: &Stage, path: &[u8], how: impl FnOnce(&Parent)) -> bool {
    // Who removes the stage finds nothing new in it.
    if stage.noexec || stage.view.diverged.reasons().iter().any(|why| why == Reason::Removed) {
        return true;
    }
    let Some(parent) = Parent::of(stage, path) else { return false };
    how(&parent);
    parent.restore_time(stage);
    true
}

/// Leads to the original of an entry that is about to change, or has changed. It is no directory.
pub fn lead_to_original(stage: &Stage, e: &Entry<'static>) {
    if (is_library(e.path()) || e.kind() == Kind::Symlink) && !leads_already(e) {
        change(stage, e.path(), |parent| parent.replace(stage));
    }
}

/// Whether the name of an entry leads to its original already.
fn leads_already(e: &Entry<'static>) -> bool {
    let mut target = Buffer::zeroed();
    // SAFETY: an entry's staged path is a C string.
    let read =
        unsafe { sys::readlinkat(AT_FDCWD, e.staged().as_ptr().cast(), &mut target) }.unwrap_or(0);
    target.get(..read) == Some(e.path())
}

/// Leads to the originals of all entries at and below a path, below which the index does not answer any more; an empty path
/// is that of all.
#[cold]
#[inline(never)]
pub fn lead_to_all_below(stage: &Stage, path: &[u8]) {
    let index = stage.index();
    for e in (0..index.len()).filter_map(|number| index.entry(number)) {
        let below = e.path().strip_prefix(path);
        if below.is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))) {
            lead_to_original(stage, &e);
        }
    }
}

/// Leads to a library that the index does not have, or to the directory that was made for it.
pub fn lead_to_new(stage: &Stage, path: &[u8]) {
    let mut name = path;
    while is_library(path)
        && stage.view.prefix_of(name).is_some()
        && !change(stage, name, Parent::link)
        && let Some((above, _)) = at_last_slash(name)
    {
        name = above;
    }
}
