//! Hooks the calls on a descriptor that would show that the descriptor's file is staged, or that must act on the
//! original.
//!
//! - `F_GETFL` and `F_SETFL` hide and keep the mark ([`REDIRECTED`]).
//! - Locks exclude those who lock the original ([`pyshm_core::path::locks`]).
//! - Leases, directory notification and the ioctls of file systems (attributes of `lsattr` and `chattr`, block maps,
//!   stripes) first exchange the descriptor ([`pyshm_core::stage::swap_fd`]). Where that fails, a lease fails with
//!   ENOLCK, and an ioctl is made on the copy.
//!
//! - The kernel copies no range from one file system to another, so copy_file_range out of a staged file is made by
//!   sendfile.
//!
//! dup, mmap, sendfile, fadvise and readahead need no hook. Reflinks out of a staged file fail with EXDEV, as
//! between any two file systems, and their callers go on to read it.

use core::ffi::{c_int, c_uint, c_ulong};
use core::ptr;

use libc::{off_t, size_t, ssize_t};
use pyshm_core::base::sys;
use pyshm_core::path::locks;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::{REDIRECTED, is_redirected};
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
            // Only the original's file system knows whether it reads past its cache.
            Ok(old) if old as c_int & REDIRECTED == REDIRECTED && reads_directly(argument) => {
                let _ = swap_fd(fd);
                real(argument)
            }
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

/// Whether the argument of F_SETFL asks for reads past the cache.
fn reads_directly(argument: usize) -> bool {
    argument & libc::O_DIRECT as usize != 0
}

/// File status flags as the program would see them on the original.
fn shown(flags: c_int) -> c_int {
    if flags < 0 || flags & REDIRECTED != REDIRECTED || stage().is_none() {
        flags
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

/// copy_file_range by `real`, or, out of a staged file, by sendfile.
///
/// # Safety
/// The offsets as copy_file_range requires.
unsafe fn copy_range(
    (from, from_at): (c_int, *mut off_t),
    (to, to_at): (c_int, *mut off_t),
    size: size_t,
    real: impl FnOnce() -> ssize_t,
) -> ssize_t {
    let before = sys::errno();
    let done = real();
    if done >= 0 || sys::errno() != libc::EXDEV || stage().is_none() || !is_redirected(from) {
        return done;
    }
    // SAFETY: the kernel has read both offsets before it found out that the file systems differ.
    match unsafe { send(from, from_at, to, to_at, size) } {
        Ok(sent) => {
            sys::set_errno(before);
            sent as ssize_t
        }
        Err(libc::EINVAL) => done,
        Err(e) => sys::fail(e) as ssize_t,
    }
}

/// Copies bytes by sendfile, which writes where the descriptor stands.
///
/// # Safety
/// Each offset must be null, or a number that may be read and written.
#[inline(never)]
unsafe fn send(
    from: c_int,
    from_at: *mut off_t,
    to: c_int,
    to_at: *mut off_t,
    size: size_t,
) -> sys::Result {
    let mut stood = 0;
    if !to_at.is_null() {
        stood = sys::seek(to, 0, libc::SEEK_CUR)?;
        // SAFETY: the caller guarantees a number.
        sys::seek(to, unsafe { to_at.read_unaligned() } as usize, libc::SEEK_SET)?;
    }
    let a = [to as usize, from as usize, from_at as usize, size, 0, 0];
    // SAFETY: the caller guarantees the offset.
    let sent = unsafe { sys::syscall(libc::SYS_sendfile, a) };
    if !to_at.is_null() {
        let _ = sys::seek(to, stood, libc::SEEK_SET);
        if let Ok(sent) = sent {
            // SAFETY: as above.
            unsafe { to_at.write_unaligned(to_at.read_unaligned() + sent as off_t) };
        }
    }
    sent
}

// fcntl and ioctl are variadic, as `open` is ([`crate::hooks::files::open`]).
hooks! {
    fn fcntl, fcntl64, __fcntl(fd: c_int, command: c_int, argument: usize) -> c_int
        = |real| control(fd, command, argument, |argument| real(fd, command, argument));
    fn flock(fd: c_int, operation: c_int) -> c_int
        = |real| locks::flock(fd, operation).map_or_else(|| real(fd, operation), sys::ret);
    fn lockf, lockf64(fd: c_int, command: c_int, len: off_t) -> c_int
        = |real| locks::lockf(fd, command, len).map_or_else(|| real(fd, command, len), sys::ret);
    fn copy_file_range(from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, size: size_t, flags: c_uint) -> ssize_t
        = |real| copy_range((from, from_at), (to, to_at), size, || real(from, from_at, to, to_at, size, flags));
    fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int = |real| {
        before_ioctl(fd, request);
        real(fd, request, argument)
    };
}
