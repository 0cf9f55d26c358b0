//! Locks on files of which some processes hold descriptors of the staged copy, and others of the original.
//!
//! A lock of flock, or one of an open file description (F_OFD_SETLK), belongs to the open file: duplicates and children
//! share it, and it ends with the last of them. So it is taken on the very file that is open, staged or original. It
//! holds against the other one too, because whoever locks also tries the other file, by a descriptor of the shim's own,
//! while it has its own. Of two processes that each have locked one file, the second one fails to lock the other. Processes
//! of other nodes see only the original. So a staged descriptor that no other process shares is exchanged before.
//!
//! A record lock (F_SETLK, lockf) belongs to the process and the file, and is shared by nobody. So the descriptor is
//! exchanged for one of the original, whose marks make later descriptors the original's too.
//!
//! Invariants:
//! - Both who lock the copy and who lock the original lock the copy first, so that of several processes that do not
//!   wait one gets the lock.
//! - Nobody holds a lock of one file while it waits for the other.
//! - A staged descriptor only reads: it has no exclusive record locks, and no exclusive ones of its open file.
//! - Without the original (removed, replaced, closed to this user) the lock on the copy is all there is. Without the
//!   copy nobody of this node can have locked it.

use core::ffi::c_int;
use core::mem::zeroed;

use libc::{
    EAGAIN, EBADF, F_GETLK, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_RDLCK, F_SETLK, F_SETLKW,
    F_UNLCK, F_WRLCK, LOCK_NB, LOCK_UN, O_NOCTTY, O_NONBLOCK, O_RDONLY, SEEK_CUR, SEEK_SET,
};
use pyshm_format::{Entry, Kind};

use crate::base::{readable, sys};
use crate::path::change::Names;
use crate::path::marks::mark_entry;
use crate::stage::current::stage;
use crate::stage::descriptor::is_redirected;
use crate::stage::mapped::Stage;
use crate::stage::sharing::may_be_shared;
use crate::stage::swap_fd::{Covers, discard, note_locked, open_original, swap_fd, take_originals};

/// Milliseconds between two tries where the kernel cannot be asked to wait.
const PAUSE: i64 = 5;

/// A descriptor of a file that is both on the shared file system and in the stage, and one of the shim's own on the
/// other side.
enum Side {
    /// The descriptor is of the staged copy; the other one of the original, if that can be opened.
    Copy(Option<c_int>),
    /// The descriptor is of the original; the other one of the staged copy.
    Original(c_int),
}

/// What a descriptor is open on.
enum Open {
    /// The staged copy of an entry.
    Copy(Entry<'static>),
    /// The original of an entry.
    Original(Entry<'static>),
}

/// [`opened`] for a lock that belongs to the open file. If no other process shares a staged one, the descriptor is exchanged, so
/// that the lock holds for other nodes too.
fn opened_alone(stage: &Stage, fd: c_int) -> Option<Open> {
    let open = opened(stage, fd)?;
    if let Open::Copy(e) = open
        && !may_be_shared(stage, fd, &e)
        && swap_fd(fd).is_ok()
        && !is_redirected(fd)
    {
        return Some(Open::Original(e));
    }
    Some(open)
}

/// Which file of the index a descriptor is open on; `None` for any other file.
fn opened(stage: &Stage, fd: c_int) -> Option<Open> {
    let st = sys::fstat(fd).ok()?;
    if st.st_dev == stage.dev && is_redirected(fd) {
        return stage.entry_of_fd(fd).map(Open::Copy);
    }
    if !stage.has_prefix_on(st.st_dev) {
        return None;
    }
    let known = stage.index().of_inode(st.st_dev, st.st_ino)?.next();
    let e = match known {
        Some(number) => stage.index().entry(number),
        None => stage.entry_by_name(fd, &st),
    }?;
    let flags = sys::fcntl(fd, libc::F_GETFL, 0).ok()? as c_int;
    // The kernel refuses a lock by a descriptor that only names the file.
    if flags & libc::O_PATH != 0 {
        return None;
    }
    Some(Open::Original(e))
}

impl Open {
    /// Opens the file on the other side.
    #[inline(never)]
    fn side(self, stage: &Stage) -> Option<Side> {
        let flags = O_RDONLY | O_NONBLOCK | O_NOCTTY;
        match self {
            Self::Copy(e) => Some(Side::Copy(open_original(stage, &e, flags).ok().flatten())),
            Self::Original(e) if matches!(e.kind(), Kind::File | Kind::Directory) => {
                // In the place of a changed library's copy lies a link to the original.
                let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW;
                let name = e.pristine().as_ptr().cast();
                // SAFETY: an entry's names are C strings.
                unsafe { sys::openat(libc::AT_FDCWD, name, flags) }.ok().map(Side::Original)
            }
            Self::Original(_) => None,
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        match *self {
            Self::Copy(Some(original)) => discard(original),
            Self::Copy(None) => {}
            Self::Original(copy) => sys::close(copy),
        }
    }
}

/// flock; `None` if the real function is to do it.
pub fn flock(fd: c_int, operation: c_int) -> Option<sys::Result> {
    let stage = stage()?;
    if operation & !LOCK_NB == LOCK_UN {
        return None;
    }
    let side = opened_alone(stage, fd)?.side(stage)?;
    let waits = operation & LOCK_NB == 0;
    Some(match side {
        Side::Copy(None) => sys::flock(fd, operation),
        Side::Copy(Some(original)) => flock_copy(fd, original, operation, waits),
        Side::Original(copy) => flock_original(fd, copy, operation, waits),
    })
}

/// Locks the staged copy `fd`, if nobody has locked the original.
fn flock_copy(fd: c_int, original: c_int, operation: c_int, waits: bool) -> sys::Result {
    loop {
        sys::flock(fd, operation)?;
        match sys::flock(original, operation | LOCK_NB) {
            Err(EAGAIN) => {}
            Ok(_) => {
                // A child that another thread has just made would keep the lock.
                let _ = sys::flock(original, LOCK_UN);
                return Ok(0);
            }
            Err(e) => {
                let _ = sys::flock(fd, LOCK_UN);
                return Err(e);
            }
        }
        let _ = sys::flock(fd, LOCK_UN);
        if !waits {
            return Err(EAGAIN);
        }
        sys::flock(original, operation)?;
        let _ = sys::flock(original, LOCK_UN);
    }
}

/// Locks the original `fd`, if nobody has locked the staged copy.
fn flock_original(fd: c_int, copy: c_int, operation: c_int, waits: bool) -> sys::Result {
    loop {
        sys::flock(copy, operation)?;
        let done = sys::flock(fd, operation | LOCK_NB);
        let _ = sys::flock(copy, LOCK_UN);
        match done {
            Err(EAGAIN) if waits => {}
            done => return done,
        }
        sys::flock(fd, operation)?;
        // Somebody may have locked the copy meanwhile.
        if sys::flock(copy, operation | LOCK_NB).is_ok() {
            let _ = sys::flock(copy, LOCK_UN);
            return Ok(0);
        }
        let _ = sys::flock(fd, LOCK_UN);
    }
}

/// A lock of fcntl, as one of its commands has it.
#[derive(Clone, Copy)]
struct Record {
    command: c_int,
    lock: libc::flock,
}

impl Record {
    fn is(&self, kind: c_int) -> bool {
        c_int::from(self.lock.l_type) == kind
    }

    /// The same, with another command and type, for another descriptor: the range does not depend on the offset of `fd`.
    fn for_other(&self, fd: c_int, command: c_int, kind: c_int) -> Self {
        let mut lock = self.lock;
        lock.l_type = kind as _;
        lock.l_pid = 0;
        if c_int::from(lock.l_whence) == SEEK_CUR {
            let at = sys::seek(fd, 0, SEEK_CUR).unwrap_or(0);
            lock.l_start = lock.l_start.saturating_add_unsigned(at as u64);
            lock.l_whence = SEEK_SET as _;
        }
        Self { command, lock }
    }

    /// Runs the command, which may change the lock.
    fn run(&mut self, fd: c_int) -> sys::Result {
        sys::fcntl(fd, self.command, (&raw mut self.lock) as usize)
    }

    /// The lock in the way of one like this on `other`; `None` if there is none.
    fn conflict(&self, fd: c_int, other: c_int) -> Option<libc::flock> {
        let mut asked = self.for_other(fd, F_OFD_GETLK, c_int::from(self.lock.l_type));
        asked.run(other).ok().filter(|_| !asked.is(F_UNLCK)).map(|_| asked.lock)
    }
}

/// fcntl's commands for locks; `None` if the real function is to do it.
///
/// # Safety
/// `lock` must be what fcntl requires for `command`, or a pointer that the kernel is to refuse.
pub unsafe fn record(fd: c_int, command: c_int, lock: *mut libc::flock) -> Option<sys::Result> {
    let stage = stage()?;
    if !readable::is_readable(lock as usize, size_of::<libc::flock>()) {
        return None;
    }
    // SAFETY: it can be read, and any bytes are a struct of integers.
    let mut asked = Record { command, lock: unsafe { lock.read_unaligned() } };
    let done = locked(stage, fd, &mut asked)?;
    if done.is_ok() && matches!(command, F_GETLK | F_OFD_GETLK) {
        // SAFETY: the caller guarantees that fcntl may write there.
        unsafe { lock.write_unaligned(asked.lock) };
    }
    Some(done)
}

/// lockf: record locks from the offset on; `None` if the real function is to do it.
pub fn lockf(fd: c_int, command: c_int, len: libc::off_t) -> Option<sys::Result> {
    let stage = stage()?;
    let (kind, run) = match command {
        libc::F_LOCK => (F_WRLCK, F_SETLKW),
        libc::F_TLOCK => (F_WRLCK, F_SETLK),
        libc::F_ULOCK => (F_UNLCK, F_SETLK),
        libc::F_TEST => (F_RDLCK, F_GETLK),
        _ => return None,
    };
    // SAFETY: a struct of integers may be all zero.
    let mut asked = Record { command: run, lock: unsafe { zeroed() } };
    asked.lock.l_type = kind as _;
    asked.lock.l_whence = SEEK_CUR as _;
    asked.lock.l_len = len;
    let done = locked(stage, fd, &mut asked)?;
    let free = command != libc::F_TEST || asked.is(F_UNLCK);
    Some(done.and(if free { Ok(0) } else { Err(libc::EACCES) }))
}

#[inline(never)]
fn locked(stage: &Stage, fd: c_int, asked: &mut Record) -> Option<sys::Result> {
    let found = match asked.command {
        F_OFD_SETLK | F_OFD_SETLKW if !asked.is(F_UNLCK) => opened_alone(stage, fd),
        _ => opened(stage, fd),
    };
    let open = match found? {
        Open::Copy(e) if matches!(asked.command, F_GETLK | F_SETLK | F_SETLKW) => {
            // Who only reads gets no lock to write.
            if asked.is(F_WRLCK) && asked.command != F_GETLK {
                return Some(Err(EBADF));
            }
            mark_entry(stage, &e, Names::Same);
            let (dev, ino) = e.inode();
            take_originals(stage, Covers::Inode(dev, ino));
            if is_redirected(fd) {
                return stage.is_gone(&e).then(|| asked.run(fd)).or(Some(Err(libc::ENOLCK)));
            }
            Open::Original(e)
        }
        open => open,
    };
    if matches!(asked.command, F_SETLK | F_SETLKW) {
        note_locked();
    }
    let asks = matches!(asked.command, F_GETLK | F_OFD_GETLK);
    let concerned = match open {
        Open::Copy(_) => asks || asked.is(F_RDLCK),
        // A staged descriptor reads, and so do its locks. The kernel refuses a lock to write by a descriptor that reads.
        Open::Original(_) => asked.is(F_WRLCK) && (asks || writes(fd)),
    };
    if !concerned {
        return None;
    }
    let side = open.side(stage)?;
    Some(match side {
        Side::Copy(None) => asked.run(fd),
        Side::Copy(Some(other)) | Side::Original(other) if asks => ask_both(fd, other, asked),
        Side::Copy(Some(original)) => set_both(fd, *asked, original, |own| {
            own.for_other(fd, F_OFD_SETLKW, F_RDLCK).run(original)?;
            own.for_other(fd, F_OFD_SETLK, F_UNLCK).run(original)
        }),
        // The shim's descriptor of the copy cannot have a lock to write, for which it could wait.
        Side::Original(copy) => set_both(fd, *asked, copy, |_| sys::sleep(PAUSE)),
    })
}

/// Whether a descriptor is open for writing.
fn writes(fd: c_int) -> bool {
    sys::fcntl(fd, libc::F_GETFL, 0).is_ok_and(|flags| flags as c_int & libc::O_ACCMODE != O_RDONLY)
}

/// Asks for a lock that would be in the way, on `fd` first.
fn ask_both(fd: c_int, other: c_int, asked: &mut Record) -> sys::Result {
    let given = *asked;
    let done = asked.run(fd)?;
    if asked.is(F_UNLCK)
        && let Some(found) = given.conflict(fd, other)
    {
        asked.lock = found;
    }
    Ok(done)
}

/// Sets a lock on `fd`, if none on `other` is in the way; `wait` waits for that one.
///
/// `other` is asked first too: who is refused a lock keeps the one that it had before on these bytes, perhaps one to read.
#[inline]
fn set_both(
    fd: c_int,
    asked: Record,
    other: c_int,
    wait: impl Fn(&Record) -> sys::Result,
) -> sys::Result {
    loop {
        let (unlock, waits) = match asked.command {
            F_SETLK => (F_SETLK, false),
            F_SETLKW => (F_SETLK, true),
            command => (F_OFD_SETLK, command == F_OFD_SETLKW),
        };
        if asked.conflict(fd, other).is_none() {
            let mut own = asked;
            own.run(fd)?;
            if asked.conflict(fd, other).is_none() {
                return Ok(0);
            }
            let _ = asked.for_other(fd, unlock, F_UNLCK).run(fd);
        }
        if !waits {
            return Err(EAGAIN);
        }
        wait(&asked)?;
    }
}
