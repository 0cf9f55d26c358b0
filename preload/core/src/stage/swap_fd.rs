//! Replaces a descriptor of a staged file by one of the original, with the same number.
//!
//! Some calls must reach the original. A lock on the staged copy would not keep out a process on another node, or a
//! process that opened the original for writing. The ioctls of a file system read or change properties of the original.
//!
//! Invariants:
//! - The new descriptor has the same flags and offset. A duplicate that the program made before stays on the staged
//!   file and no longer shares the offset, because the shim does not know of the duplicate.
//! - If the path no longer names the file that was staged, the descriptor stays on the staged copy, because the removed
//!   or replaced file cannot be opened by that path.
//! - A process's fcntl locks on a file end when the process closes *any* descriptor of that file. So the shim does not
//!   close its own descriptor while the file has such locks, which may belong to this process. That descriptor leaks.

use core::ffi::c_int;

use libc::{ENOLCK, F_GETFL};
use pyshm_format::Entry;
use pyshm_format::state::Mark;

use crate::base::scratch::PATH_MAX;
use crate::base::sys;
use crate::stage::current::stage;
use crate::stage::descriptor::{PATH_ONLY_DIRECTORY, REDIRECTED, is_path_only};
use crate::stage::mapped::Stage;

/// Replaces `fd` by a descriptor of the original if it is redirected. Fails with an error number if the original exists
/// and cannot be opened. Fails also if `fd` is a directory that was already read, because the directory's offset has no
/// meaning in another file system.
pub fn swap_fd(fd: c_int) -> Result<(), c_int> {
    let Some(stage) = stage() else { return Ok(()) };
    match sys::fcntl(fd, F_GETFL, 0) {
        Ok(flags) if flags as c_int & REDIRECTED == REDIRECTED => {
            exchange(stage, fd, flags as c_int)
        }
        _ => Ok(()),
    }
}

#[inline(never)]
fn exchange(stage: &Stage, fd: c_int, flags: c_int) -> Result<(), c_int> {
    let mut buf = [0; PATH_MAX];
    let Some(path) = stage.c_path_of_fd(fd, &mut buf) else { return Ok(()) };
    let Some(e) = stage.index().lookup(path.to_bytes()) else { return Ok(()) };
    let offset = sys::seek(fd, 0, libc::SEEK_CUR).unwrap_or(0);
    if flags & libc::O_DIRECTORY != 0 && offset != 0 {
        return Err(ENOLCK);
    }
    let kind = if !is_path_only(flags) {
        flags & !REDIRECTED
    } else if flags & PATH_ONLY_DIRECTORY == 0 {
        libc::O_PATH
    } else {
        libc::O_PATH | libc::O_DIRECTORY
    };
    let original = match sys::open(path, kind) {
        Ok(original) => original,
        Err(libc::ENOENT | libc::ENOTDIR) => return Ok(()),
        Err(_) => return Err(ENOLCK),
    };
    if gone(stage, &e, original) {
        discard(original);
        return Ok(());
    }
    if offset != 0 {
        let _ = sys::seek(original, offset, libc::SEEK_SET);
    }
    let close = sys::fcntl(fd, libc::F_GETFD, 0).unwrap_or(0) as c_int & libc::FD_CLOEXEC;
    let done = sys::dup3(original, fd, if close != 0 { libc::O_CLOEXEC } else { 0 });
    discard(original);
    done.map(drop).map_err(|_| ENOLCK)
}

/// Whether the path no longer names the file that was staged. `original` is a descriptor of the file that the path
/// names now.
fn gone(stage: &Stage, e: &Entry<'static>, original: c_int) -> bool {
    let same = || {
        let was = e.stat();
        sys::fstat(original).is_ok_and(|st| (st.st_dev, st.st_ino) == (was.dev, was.ino))
    };
    stage.view.diverged.has(Mark::Path, e.hash()) && !same()
}

/// Closes the shim's own descriptor of the original, unless closing it could end locks.
fn discard(original: c_int) {
    if !has_locks(original) {
        sys::close(original);
    }
}

/// Whether any process has fcntl locks on the file. Tests for an open-file lock, which conflicts with the locks of
/// every process.
fn has_locks(fd: c_int) -> bool {
    // SAFETY: `flock` is a struct of integers, which may be zero.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    let asked = sys::fcntl(fd, libc::F_OFD_GETLK, (&raw mut lock) as usize);
    asked.is_ok() && lock.l_type != libc::F_UNLCK as libc::c_short
}
