//! Exchanging a staged file's descriptor for one of the original, under the same number.
//!
//! A lock on the staged copy would keep nobody out who opened the original to write, or who sits on another node; what
//! a file system's own ioctl asks or changes is the original's as well.
//!
//! What must stay true:
//! - The new descriptor is of the same kind and stands at the same offset. One that was duplicated before stays the
//!   staged file's and no longer shares the offset: that cannot be seen from here.
//! - Where the path no longer names the file that was opened, the staged copy stands for it: what was removed or
//!   replaced is reached by nobody through the original's name.
//! - Locks of fcntl end when *any* descriptor of the file is closed. So one of ours is not closed while the file has such
//!   locks, which may be this process's own: then a number is lost.

use core::ffi::c_int;

use libc::{ENOLCK, F_GETFL};
use pyshm_format::Entry;
use pyshm_format::state::Mark;

use crate::base::scratch::PATH_MAX;
use crate::base::sys;
use crate::stage::current::stage;
use crate::stage::descriptor::PATH_ONLY_DIRECTORY;
use crate::stage::descriptor::REDIRECTED;
use crate::stage::descriptor::is_path_only;
use crate::stage::mapped::Stage;

/// Makes `fd` one of the original, if it is a staged file's. An error number where the original is there and cannot be
/// opened, or a directory was read already, whose offsets mean nothing in another file system.
pub fn promote(fd: c_int) -> Result<(), c_int> {
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
    let kind = match is_path_only(flags) {
        true if flags & PATH_ONLY_DIRECTORY == 0 => libc::O_PATH,
        true => libc::O_PATH | libc::O_DIRECTORY,
        false => flags & !REDIRECTED,
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

/// Whether the path no longer names the file that was staged; `original` is what it names now.
fn gone(stage: &Stage, e: &Entry<'static>, original: c_int) -> bool {
    let same = || {
        let was = e.stat();
        sys::fstat(original).is_ok_and(|st| (st.st_dev, st.st_ino) == (was.dev, was.ino))
    };
    stage.view.diverged.has(Mark::Path, e.hash()) && !same()
}

fn discard(original: c_int) {
    if !has_locks(original) {
        sys::close(original);
    }
}

/// Whether anyone's locks of fcntl are on the file: a descriptor's own are asked for, with which a process's conflict.
fn has_locks(fd: c_int) -> bool {
    // SAFETY: a struct of integers may be all zero.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    let asked = sys::fcntl(fd, libc::F_OFD_GETLK, (&raw mut lock) as usize);
    asked.is_ok() && lock.l_type != libc::F_UNLCK as libc::c_short
}
