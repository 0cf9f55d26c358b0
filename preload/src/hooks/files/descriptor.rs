//! Calls on a descriptor that would show that its file is staged, or do to the copy what is meant for the original.
//!
//! - `F_GETFL` and `F_SETFL` hide and keep the mark ([`REDIRECTED`]).
//! - Locks exclude those who lock the original ([`pyshm_core::path::locks`]).
//! - Leases, directory notification and the ioctls of file systems (attributes of `lsattr` and `chattr`, block maps,
//!   stripes) first exchange the descriptor ([`pyshm_core::stage::swap_fd`]). Where that fails, a lease fails with
//!   ENOLCK, and an ioctl is made on the copy.
//!
//! dup, mmap, sendfile, fadvise, readahead and fsync need no hook. copy_file_range and reflinks out of a staged file
//! fail with EXDEV, as between any two file systems, and their callers go on to read it.

use core::ffi::{c_int, c_ulong};
use core::ptr;

use libc::off_t;
use pyshm_core::base::sys;
use pyshm_core::path::locks;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::{REDIRECTED, is_redirected};
use pyshm_core::stage::swap_fd::swap_fd;

const F_ADD_SEALS: c_int = 1033;
const F_GET_SEALS: c_int = 1034;
/// The ioctl that clears or sets O_ASYNC, a flag of the mark.
const FIOASYNC: c_ulong = 0x5452;

/// fcntl, by `real`, which gets the third argument.
pub fn control(
    fd: c_int,
    command: c_int,
    argument: usize,
    real: impl FnOnce(usize) -> c_int,
) -> c_int {
    match command {
        libc::F_GETFL => shown(real(argument)),
        libc::F_SETFL if stage().is_some() => match sys::fcntl(fd, libc::F_GETFL, 0) {
            Ok(old) if old as c_int & REDIRECTED == REDIRECTED => {
                real(argument | REDIRECTED as usize)
            }
            _ => real(argument),
        },
        libc::F_GETLK
        | libc::F_SETLK
        | libc::F_SETLKW
        | libc::F_OFD_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW => {
            let lock = ptr::with_exposed_provenance_mut(argument);
            // SAFETY: the argument of these commands.
            match unsafe { locks::record(fd, command, lock) } {
                Some(done) => sys::ret(done),
                None => real(argument),
            }
        }
        libc::F_SETLEASE | libc::F_NOTIFY => on_original(fd, || real(argument)),
        // Only tmpfs has seals.
        F_ADD_SEALS | F_GET_SEALS if stage().is_some() && is_redirected(fd) => {
            sys::fail(libc::EINVAL)
        }
        _ => real(argument),
    }
}

/// File status flags without the mark.
fn shown(flags: c_int) -> c_int {
    if flags < 0 || flags & REDIRECTED != REDIRECTED || stage().is_none() {
        flags
    } else {
        flags & !REDIRECTED
    }
}

/// Exchanges the descriptor for one of the original, then calls `real`.
pub fn on_original(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    match swap_fd(fd) {
        Ok(()) => real(),
        Err(e) => sys::fail(e),
    }
}

/// Exchanges the descriptor for one of the original, if only the original's file system can do what `request` asks for.
#[inline]
pub fn before_ioctl(fd: c_int, request: c_ulong) {
    // FIBMAP, FIGETBSZ, and by their letters the requests for attributes and extents, those of Lustre, of XFS and what
    // others took over from XFS.
    if matches!(request, 1 | 2 | FIOASYNC) || matches!((request >> 8) as u8, b'f' | b'X' | b'v') {
        let _ = swap_fd(fd);
    }
}

// fcntl and ioctl are variadic, as `open` is ([`crate::hooks::files::open`]).
hooks! {
    fn fcntl, fcntl64, __fcntl(fd: c_int, command: c_int, argument: usize) -> c_int
        = |real| control(fd, command, argument, |argument| real(fd, command, argument));
    fn flock(fd: c_int, operation: c_int) -> c_int
        = |real| locks::flock(fd, operation).map_or_else(|| real(fd, operation), sys::ret);
    fn lockf, lockf64(fd: c_int, command: c_int, len: off_t) -> c_int
        = |real| locks::lockf(fd, command, len).map_or_else(|| real(fd, command, len), sys::ret);
    fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int = |real| {
        before_ioctl(fd, request);
        real(fd, request, argument)
    };
}
