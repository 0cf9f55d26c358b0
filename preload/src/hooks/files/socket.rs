//! The names of local sockets. bind makes one: its directory and the new path diverge. The kernel gets the address
//! unchanged, because a staged name would not fit into it. If it leads through a staged descriptor, that is exchanged for
//! one of the original.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::offset_of;

use libc::{size_t, sockaddr, sockaddr_un, socklen_t, ssize_t};
use pyshm_core::base::{readable, sys};
use pyshm_core::path::argument::PathArg;
use pyshm_core::path::change::Names;
use pyshm_core::path::fd_link;
use pyshm_core::path::writes::write;
use pyshm_core::stage::current::stage;

use crate::libc_calls::hook_macros::Failed;

/// Where the path begins in an address.
const PATH_AT: usize = offset_of!(sockaddr_un, sun_path);
/// Bytes of a path in an address, and one for a NUL, which need not be in it.
const ROOM: usize = size_of::<sockaddr_un>() - PATH_AT + 1;

/// The path in an address of a local socket, if it is one.
struct Name([u8; ROOM]);

impl Name {
    /// # Safety
    /// `address` must be `len` bytes long, or a pointer that the kernel is to refuse.
    #[inline]
    unsafe fn of(address: *const sockaddr, len: socklen_t) -> Option<Self> {
        let path_len = (len as usize).saturating_sub(PATH_AT);
        let local = path_len > 0
            && path_len < ROOM
            && stage().is_some()
            && readable::is_readable(address as usize, len as usize)
            // SAFETY: it can be read, and an address begins with its family.
            && unsafe { (*address).sa_family } == libc::AF_UNIX as u16;
        if !local {
            return None;
        }
        let mut path = [0u8; ROOM];
        // SAFETY: the caller's address is `len` bytes long.
        unsafe {
            path.as_mut_ptr().copy_from_nonoverlapping(address.cast::<u8>().add(PATH_AT), path_len)
        };
        Some(Self(path))
    }

    /// The path. A name that begins with a NUL is in no file system; it counts as an empty path here.
    fn bytes(&self) -> &[u8] {
        CStr::from_bytes_until_nul(&self.0).map_or(&[], CStr::to_bytes)
    }
}

/// Makes a call by `real` with an address, when it does not lead into the stage any more.
///
/// # Safety
/// `address` and `len` as the real function requires.
unsafe fn addressed<R: Failed>(
    address: *const sockaddr,
    len: socklen_t,
    real: impl FnOnce() -> R,
) -> R {
    // SAFETY: the caller guarantees the address.
    let name = unsafe { Name::of(address, len) };
    match name.map_or(Ok(()), |name| fd_link::take_original(name.bytes())) {
        Ok(()) => real(),
        Err(e) => {
            sys::set_errno(e);
            R::failed()
        }
    }
}

/// # Safety
/// `address` and `len` as bind requires.
unsafe fn bind_to(address: *const sockaddr, len: socklen_t, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the caller guarantees the address; the path is a C string of ours.
    unsafe {
        match Name::of(address, len) {
            Some(name) => {
                let arg = PathArg::unfollowed(name.0.as_ptr().cast::<c_char>());
                write(arg, Names::Added, |_, _| addressed(address, len, real))
            }
            None => real(),
        }
    }
}

hooks! {
    fn bind(socket: c_int, address: *const sockaddr, len: socklen_t) -> c_int
        = |real| bind_to(address, len, || real(socket, address, len));
    fn connect(socket: c_int, address: *const sockaddr, len: socklen_t) -> c_int
        = |real| addressed(address, len, || real(socket, address, len));
    fn sendto(socket: c_int, data: *const c_void, size: size_t, flags: c_int, address: *const sockaddr, len: socklen_t) -> ssize_t
        = |real| addressed(address, len, || real(socket, data, size, flags, address, len));
}
