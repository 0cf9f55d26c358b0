//! Hooks the calls on a descriptor that would show that the descriptor's file is staged, or that must act on the
//! original.
//!
//! - `F_GETFL` hides the flags that mark a redirected descriptor ([`REDIRECTED`]), and `F_SETFL` keeps them.
//! - Locks, leases, directory notification and the ioctls of file systems (attributes of `lsattr` and `chattr`, block
//!   maps, stripes) first replace the descriptor by one of the original ([`pyshm_core::stage::swap_fd`]). If that
//!   fails, a lock fails with ENOLCK, as on a file system without locks, because a lock that keeps nobody out would be
//!   worse. An ioctl is then made on the copy.
//!
//! dup, mmap, sendfile, fadvise, readahead and fsync need no hook. copy_file_range and reflinks from a staged file to
//! another file system fail with EXDEV, and their callers then read the file.

use core::ffi::{c_int, c_ulong};

use libc::off_t;
use pyshm_core::base::sys;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::{PATH_ONLY_DIRECTORY, REDIRECTED, is_path_only, is_redirected};
use pyshm_core::stage::swap_fd::swap_fd;

const F_ADD_SEALS: c_int = 1033;
const F_GET_SEALS: c_int = 1034;
/// The ioctl that clears or sets O_ASYNC, one of the flags of [`REDIRECTED`].
const FIOASYNC: c_ulong = 0x5452;

/// The hook of fcntl. `real` gets the third argument.
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
        libc::F_GETLK | libc::F_SETLK | libc::F_SETLKW => on_original(fd, || real(argument)),
        libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW => {
            on_original(fd, || real(argument))
        }
        libc::F_SETLEASE | libc::F_NOTIFY => on_original(fd, || real(argument)),
        // Only tmpfs has seals.
        F_ADD_SEALS | F_GET_SEALS if stage().is_some() && is_redirected(fd) => {
            sys::fail(libc::EINVAL)
        }
        _ => real(argument),
    }
}

/// File status flags as the program would see them on the original.
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

/// If the descriptor is redirected, replaces it by a descriptor of the original. Then calls `real`.
pub fn on_original(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    match swap_fd(fd) {
        Ok(()) => real(),
        Err(e) => sys::fail(e),
    }
}

/// If the descriptor is redirected and only the original's file system can answer `request`, replaces the descriptor by
/// one of the original.
#[inline]
pub fn before_ioctl(fd: c_int, request: c_ulong) {
    // FIBMAP and FIGETBSZ are 1 and 2. The letters stand for attributes, extents and Lustre (f), XFS and the requests
    // that others took over from XFS (X), and file versions (v).
    if matches!(request, 1 | 2 | FIOASYNC) || matches!((request >> 8) as u8, b'f' | b'X' | b'v') {
        let _ = swap_fd(fd);
    }
}

// fcntl and ioctl are variadic, as `open` is ([`crate::hooks::files::open`]).
hooks! {
    fn fcntl, fcntl64, __fcntl(fd: c_int, command: c_int, argument: usize) -> c_int
        = |real| control(fd, command, argument, |argument| real(fd, command, argument));
    fn flock(fd: c_int, operation: c_int) -> c_int = |real| on_original(fd, || real(fd, operation));
    fn lockf, lockf64(fd: c_int, command: c_int, len: off_t) -> c_int
        = |real| on_original(fd, || real(fd, command, len));
    fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int = |real| {
        before_ioctl(fd, request);
        real(fd, request, argument)
    };
}
