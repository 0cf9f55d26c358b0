//! Hooks bind, which makes a name for a local socket. The new path and its directory's listing are marked as diverged.
//! The address goes to the kernel unchanged.

use core::ffi::{c_char, c_int};
use core::mem::offset_of;

use libc::{sockaddr, sockaddr_un, socklen_t};
use pyshm_core::base::readable;
use pyshm_core::path::argument::PathArg;
use pyshm_core::path::change::Names;
use pyshm_core::path::writes::write;
use pyshm_core::stage::current::stage;

/// Number of bytes of a path in an address, plus one for a NUL, because the path in an address need not end with a NUL.
const ROOM: usize = size_of::<sockaddr_un>() - offset_of!(sockaddr_un, sun_path) + 1;

/// # Safety
/// `address` and `len` as bind requires.
unsafe fn bind_to(address: *const sockaddr, len: socklen_t, real: impl FnOnce() -> c_int) -> c_int {
    let at = offset_of!(sockaddr_un, sun_path);
    let path_len = (len as usize).saturating_sub(at);
    let local = path_len > 0
        && path_len < ROOM
        && stage().is_some()
        && readable::is_readable(address as usize, len as usize)
        // SAFETY: the address can be read, and it begins with its family.
        && unsafe { (*address).sa_family } == libc::AF_UNIX as u16;
    if !local {
        return real();
    }
    let mut path = [0u8; ROOM];
    // SAFETY: the caller's address is `len` bytes long.
    unsafe { path.as_mut_ptr().copy_from_nonoverlapping(address.cast::<u8>().add(at), path_len) };
    // A name that begins with a NUL is in no file system. It becomes an empty path here, which is never marked.
    let arg = PathArg::unfollowed(path.as_ptr().cast::<c_char>());
    // SAFETY: the array ends with a NUL.
    unsafe { write(arg, Names::Added, |_, _| real()) }
}

hooks! {
    fn bind(socket: c_int, address: *const sockaddr, len: socklen_t) -> c_int
        = |real| bind_to(address, len, || real(socket, address, len));
}
