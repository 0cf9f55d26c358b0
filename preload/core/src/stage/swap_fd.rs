//! Exchanges a staged file's descriptors for ones of the original, under the same numbers.
//!
//! A descriptor is of a file, whatever the file is called. The shim finds the original of a staged file by its name
//! alone. So before a process renames, replaces, removes or writes a file of a prefix, it exchanges its own descriptors
//! of the staged copy: from then on the kernel knows which file they mean. Calls that only the original's file system
//! can answer (record locks, leases, its own ioctls) exchange the descriptor that they are given.
//!
//! Invariants:
//! - The new descriptor is of the same kind, stands at the same offset and has the same locks. Duplicates in this process
//!   stay duplicates of each other. In other processes, duplicates stay on the staged file; nobody can reach those.
//! - Another thread may close a descriptor meanwhile, and open another file under its number, which then stays that file's.
//!   So the exchange works on a duplicate of its own, and compares the number with it right before it gives the number away.
//!   The kernel has no call that does both at once.
//! - If the path no longer names the file that was opened, the descriptor stays on the staged copy: no process reaches
//!   a removed or replaced file by the original's name.
//! - A directory that was read in part stays on the staged copy: its offset means nothing in another file system.
//! - Locks of fcntl end when *any* descriptor of the file is closed. So the shim does not close its own descriptor
//!   while this process may have such locks; that descriptor is lost.

use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, Ordering};

use libc::{EAGAIN, EBADF, ENOLCK, F_GETFL};
use pyshm_format::state::Mark;
use pyshm_format::{Entry, Kind};

use crate::base::buffer::Buffer;
use crate::base::sys;
use crate::base::text::at_last_slash;
use crate::stage::current::stage;
use crate::stage::descriptor::REDIRECTED;
use crate::stage::mapped::Stage;
use crate::stage::own_fds::{OwnFds, Search};
use crate::stage::own_locks;

/// Whether this program has set a lock of fcntl on a file of a prefix.
static LOCKED: AtomicBool = AtomicBool::new(false);

/// Which files' descriptors are exchanged.
#[derive(Debug, Clone, Copy)]
pub enum Covers<'a> {
    /// Those of any staged file.
    Everything,
    /// Those of what some user may not reach or read.
    Closed,
    /// Those of what has this path or lies below it, and those of the directory in which it lies.
    Name(&'a [u8]),
    /// Those of the directory in which this path lies.
    Parent(&'a [u8]),
    /// Those of the file whose entries have this device and inode number.
    Inode(u64, u64),
}

impl Covers<'_> {
    fn has(self, e: &Entry<'static>) -> bool {
        match self {
            Self::Everything => true,
            Self::Closed => e.barriers().closed != 0,
            Self::Name(path) => is_parent(e.path(), path) || is_at_or_below(e.path(), path),
            Self::Parent(path) => is_parent(e.path(), path),
            Self::Inode(dev, ino) => e.inode() == (dev, ino),
        }
    }
}

fn is_at_or_below(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

fn is_parent(dir: &[u8], path: &[u8]) -> bool {
    at_last_slash(path).is_some_and(|(parent, _)| parent == dir)
}

/// Notes that this process is about to set a lock of fcntl on a file of a prefix.
pub fn note_locked() {
    LOCKED.store(true, Ordering::Relaxed);
}

/// Exchanges `fd` and its duplicates for descriptors of the original, if it is redirected. Fails with an error number if
/// the original exists and cannot be opened, or if `fd` is a directory that was read in part.
pub fn swap_fd(fd: c_int) -> Result<(), c_int> {
    let Some(stage) = stage() else { return Ok(()) };
    match redirected(fd) {
        Some(flags) => exchange(stage, fd, flags, Covers::Everything),
        None => Ok(()),
    }
}

/// Exchanges the descriptors of this process that `covers` says, as far as their originals can be opened.
#[inline(never)]
pub fn take_originals(stage: &Stage, covers: Covers<'_>) {
    let Some(search) = Search::begin() else { return };
    let mut any = false;
    for fd in OwnFds::list() {
        if let Some(flags) = redirected(fd) {
            any = true;
            let _ = exchange(stage, fd, flags, covers);
        }
    }
    if !any {
        search.found_none();
    }
}

/// Whether this process has a descriptor of a staged file.
#[inline(never)]
pub fn has_staged() -> bool {
    let Some(search) = Search::begin() else { return false };
    let any = OwnFds::list().any(|fd| redirected(fd).is_some());
    if !any {
        search.found_none();
    }
    any
}

/// The flags of a redirected descriptor.
fn redirected(fd: c_int) -> Option<c_int> {
    let flags = sys::fcntl(fd, F_GETFL, 0).ok()? as c_int;
    (flags & REDIRECTED == REDIRECTED).then_some(flags)
}

#[inline(never)]
fn exchange(stage: &Stage, fd: c_int, flags: c_int, covers: Covers<'_>) -> Result<(), c_int> {
    let Some(e) = staged_file(stage, fd).filter(|e| covers.has(e)) else { return Ok(()) };
    if was_read_in_part(fd, &e) {
        return Err(ENOLCK);
    }
    let Some(original) = open_original(stage, &e, flags & !REDIRECTED)? else { return Ok(()) };
    // Where no number is left, other threads cannot open a file under this one either.
    let kept = sys::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0).map_or(fd, |kept| kept as c_int);
    mark_without_inode(stage, &e);
    let same = redirected(kept) == Some(flags)
        && staged_file(stage, kept).is_some_and(|now| now.hash() == e.hash());
    let done = if same { take_over(fd, kept, &e, original) } else { Ok(()) };
    discard(original);
    if kept != fd {
        discard(kept);
    }
    done
}

/// Marks a file whose inode is not known, under all its names: from now on a descriptor shows the original's inode, and so do
/// the names.
fn mark_without_inode(stage: &Stage, e: &Entry<'static>) {
    if !e.has_inode() {
        let (dev, ino) = e.inode();
        for number in stage.index().of_inode(dev, ino).unwrap_or_default() {
            if let Some(name) = stage.index().entry(number) {
                stage.mark(Mark::Path, name.hash());
            }
        }
    }
}

/// The entry of the staged file that a redirected descriptor is open on.
#[inline(never)]
fn staged_file(stage: &Stage, fd: c_int) -> Option<Entry<'static>> {
    let mut buf = Buffer::zeroed();
    stage.index().lookup(stage.path_of_fd(fd, &mut buf)?)
}

/// Whether a descriptor is of a directory, and does not stand at its start. A directory is often opened without O_DIRECTORY.
fn was_read_in_part(fd: c_int, e: &Entry<'static>) -> bool {
    e.kind() == Kind::Directory && offset(fd) != 0
}

fn offset(fd: c_int) -> usize {
    sys::seek(fd, 0, libc::SEEK_CUR).unwrap_or(0)
}

/// Puts `original` in the place of all descriptors that are duplicates of `kept`, `fd` among them.
fn take_over(fd: c_int, kept: c_int, e: &Entry<'static>, original: c_int) -> Result<(), c_int> {
    // Its locks go with it. If they cannot, it stays.
    own_locks::copy(kept, original).map_err(|_| ENOLCK)?;
    if was_read_in_part(kept, e) {
        return Err(ENOLCK);
    }
    let before = offset(kept);
    if before != 0 {
        let _ = sys::seek(original, before, libc::SEEK_SET);
    }
    let done = replace(fd, kept, original);
    for other in OwnFds::list() {
        if ![fd, kept, original].contains(&other) && sys::are_duplicates(other, kept) == Some(true)
        {
            let _ = replace(other, kept, original);
        }
    }
    // What another thread has read by the staged copy meanwhile counts too.
    let after = offset(kept);
    if kept != fd && after != before {
        let _ = sys::seek(original, after.wrapping_sub(before), libc::SEEK_CUR);
    }
    match done {
        // Another thread has given the number to another file, of which nothing was asked.
        Ok(_) | Err(EBADF) => Ok(()),
        Err(_) => Err(ENOLCK),
    }
}

/// Makes `fd` a duplicate of `original`, if it is still one of `kept`. Else fails with EBADF.
fn replace(fd: c_int, kept: c_int, original: c_int) -> sys::Result {
    let close = sys::fcntl(fd, libc::F_GETFD, 0)? as c_int & libc::FD_CLOEXEC;
    let still = sys::are_duplicates(fd, kept).unwrap_or_else(|| {
        let look = |fd| (sys::fstat(fd).map(|st| st.st_ino), redirected(fd), offset(fd));
        look(fd) == look(kept)
    });
    if !still {
        return Err(EBADF);
    }
    sys::dup3(original, fd, if close != 0 { libc::O_CLOEXEC } else { 0 })
}

/// Opens the original of a staged file; `None` if the path no longer names it. Fails with ENOLCK if it cannot be opened.
pub fn open_original(
    stage: &Stage,
    e: &Entry<'static>,
    flags: c_int,
) -> Result<Option<c_int>, c_int> {
    let open = |more: c_int| {
        let flags = flags | more | libc::O_CLOEXEC;
        // SAFETY: an entry's path has a NUL behind it.
        unsafe { sys::openat(libc::AT_FDCWD, e.path().as_ptr().cast(), flags) }
    };
    let diverged = stage.view.entry_diverged(e);
    // What took the name may be a FIFO, whose opening would wait for a writer.
    let opened = match diverged {
        // A lease has to be given back first.
        true => open(libc::O_NONBLOCK).or_else(|e| if e == EAGAIN { open(0) } else { Err(e) }),
        false => open(0),
    };
    let original = match opened {
        Ok(original) => original,
        Err(libc::ENOENT | libc::ENOTDIR) => return Ok(None),
        Err(_) => return Err(ENOLCK),
    };
    let same = || sys::fstat(original).is_ok_and(|st| stage.is_original(e, &st));
    if diverged && !same() {
        discard(original);
        return Ok(None);
    }
    if diverged && flags & libc::O_NONBLOCK == 0 {
        let _ = sys::fcntl(original, libc::F_SETFL, flags as usize);
    }
    Ok(Some(original))
}

/// Closes the shim's own descriptor of the original, unless that would end locks of this process.
pub fn discard(original: c_int) {
    if !may_have_locks(original) {
        sys::close(original);
    }
}

/// Whether this process may have locks of fcntl on the file. With a test for an open-file lock, every process's locks
/// conflict; with one for a process's lock, only those of others.
fn may_have_locks(fd: c_int) -> bool {
    let conflicts = |command: c_int| {
        // SAFETY: a struct of integers may be all zero.
        let mut lock: libc::flock = unsafe { core::mem::zeroed() };
        lock.l_type = libc::F_WRLCK as _;
        let asked = sys::fcntl(fd, command, (&raw mut lock) as usize);
        asked.is_ok() && lock.l_type != libc::F_UNLCK as libc::c_short
    };
    conflicts(libc::F_OFD_GETLK) && (LOCKED.load(Ordering::Relaxed) || !conflicts(libc::F_GETLK))
}
