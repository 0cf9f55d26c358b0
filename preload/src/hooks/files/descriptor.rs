//! Calls on a descriptor that would show that it is a staged file's, or do to the copy what is meant for the original.
//!
//! - `F_GETFL` and `F_SETFL` hide and keep the mark ([`REDIRECTED`]).
//! - Locks, leases, directory notification and the ioctls of file systems (attributes of `lsattr` and `chattr`, block
//!   maps, stripes) first exchange the descriptor ([`crate::promote`]). Where that fails a lock fails with ENOLCK, as on a
//!   file system without locks: one that keeps nobody out is worse. An ioctl is made on the copy then.
//!
//! Nothing is needed for dup, mmap, sendfile, fadvise, readahead, fsync. copy_file_range and reflinks out of a staged
//! file fail with EXDEV, as between any two file systems, and their callers go on to read it.

use core::ffi::{c_int, c_ulong};

use libc::off_t;

use pyshm_core::base::sys;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::PATH_ONLY_DIRECTORY;
use pyshm_core::stage::descriptor::REDIRECTED;
use pyshm_core::stage::descriptor::is_path_only;
use pyshm_core::stage::descriptor::redirected;
use pyshm_core::stage::swap_fd::promote;

const F_ADD_SEALS: c_int = 1033;
const F_GET_SEALS: c_int = 1034;
/// Clears or sets one of the flags of the mark.
const FIOASYNC: c_ulong = 0x5452;

/// `fcntl` by `real`.
pub fn control(
    fd: c_int,
    command: c_int,
    argument: usize,
    real: impl FnOnce(usize) -> c_int,
) -> c_int {
    match command {
        libc::F_GETFL => shown(real(argument)),
        libc::F_SETFL if stage().is_some() => match sys::fcntl(fd, libc::F_GETFL, 0) {
            Ok(old) if is_path_only(old as c_int) => sys::fail(libc::EBADF),
            Ok(old) if old as c_int & REDIRECTED == REDIRECTED => {
                real(argument | REDIRECTED as usize)
            }
            _ => real(argument),
        },
        libc::F_GETLK | libc::F_SETLK | libc::F_SETLKW => locked(fd, || real(argument)),
        libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW => locked(fd, || real(argument)),
        libc::F_SETLEASE | libc::F_NOTIFY => locked(fd, || real(argument)),
        // Only tmpfs knows seals.
        F_ADD_SEALS | F_GET_SEALS if stage().is_some() && redirected(fd) => sys::fail(libc::EINVAL),
        _ => real(argument),
    }
}

/// File status flags as they would be without the mark.
fn shown(flags: c_int) -> c_int {
    if flags < 0 || flags & REDIRECTED != REDIRECTED || stage().is_none() {
        flags
    } else if is_path_only(flags) {
        let called = if flags & PATH_ONLY_DIRECTORY != 0 { libc::O_DIRECTORY } else { 0 };
        libc::O_PATH | called | flags & (libc::O_NOFOLLOW | libc::O_CLOEXEC)
    } else {
        flags & !REDIRECTED
    }
}

/// `real` on the original.
pub fn locked(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    match promote(fd) {
        Ok(()) => real(),
        Err(e) => sys::fail(e),
    }
}

/// Makes the descriptor one of the original for what only its file system can answer or do.
#[inline]
pub fn before_ioctl(fd: c_int, request: c_ulong) {
    // FIBMAP and FIGETBSZ, and by their letters: attributes, extents and Lustre's; XFS's and what was taken over from it.
    if matches!(request, 1 | 2 | FIOASYNC) || matches!((request >> 8) as u8, b'f' | b'X' | b'v') {
        let _ = promote(fd);
    }
}

hooks! {
    unsafe fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int => my_fcntl {
        // SAFETY: the caller's own arguments; see `open` for the third.
        control(fd, command, argument, |a| unsafe { real!(fcntl)(fd, command, a) })
    }
    unsafe fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int => my_fcntl64 {
        // SAFETY: as above.
        control(fd, command, argument, |a| unsafe { real!(fcntl64)(fd, command, a) })
    }
    unsafe fn __fcntl(fd: c_int, command: c_int, argument: usize) -> c_int => alt_fcntl {
        // SAFETY: as above.
        control(fd, command, argument, |a| unsafe { real!(__fcntl)(fd, command, a) })
    }
    unsafe fn flock(fd: c_int, operation: c_int) -> c_int => my_flock {
        // SAFETY: the caller's own arguments.
        locked(fd, || unsafe { real!(flock)(fd, operation) })
    }
    unsafe fn lockf(fd: c_int, command: c_int, len: off_t) -> c_int => my_lockf {
        // SAFETY: the caller's own arguments.
        locked(fd, || unsafe { real!(lockf)(fd, command, len) })
    }
    unsafe fn lockf64(fd: c_int, command: c_int, len: off_t) -> c_int => my_lockf64 {
        // SAFETY: the caller's own arguments.
        locked(fd, || unsafe { real!(lockf64)(fd, command, len) })
    }
    unsafe fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int => my_ioctl {
        before_ioctl(fd, request);
        // SAFETY: the caller's own arguments; variadic as `open`.
        unsafe { real!(ioctl)(fd, request, argument) }
    }
}
