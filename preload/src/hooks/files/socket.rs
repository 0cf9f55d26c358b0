//! bind of a local socket makes a name: the directory diverges, and the new path. The address goes to the kernel as it
//! is, because a staged name would not fit into it.

use core::ffi::{c_char, c_int};
use core::mem::offset_of;

use libc::{AT_FDCWD, sockaddr, sockaddr_un, socklen_t};

use pyshm_core::base::readable;
use pyshm_core::path::writes;
use pyshm_core::path::writes::Names;
use pyshm_core::stage::current::stage;

/// Length of a path in an address, and room for a NUL, which need not be in it.
const ROOM: usize = size_of::<sockaddr_un>() - offset_of!(sockaddr_un, sun_path) + 1;

hooks! {
    unsafe fn bind(socket: c_int, address: *const sockaddr, len: socklen_t) -> c_int => my_bind {
        // SAFETY: the caller's own arguments.
        let real = || unsafe { real!(bind)(socket, address, len) };
        let at = offset_of!(sockaddr_un, sun_path);
        let path_len = (len as usize).saturating_sub(at);
        let local = path_len > 0
            && path_len < ROOM
            && stage().is_some()
            && readable::is_readable(address as usize, len as usize)
            // SAFETY: it can be read, and an address has its family in front.
            && unsafe { (*address).sa_family } == libc::AF_UNIX as u16;
        if !local {
            return real();
        }
        let mut path = [0u8; ROOM];
        // SAFETY: the caller's address is `len` bytes long.
        unsafe { path.as_mut_ptr().copy_from_nonoverlapping(address.cast::<u8>().add(at), path_len) };
        // A name that begins with a NUL is in no file system; `mark` takes it for an empty path.
        // SAFETY: a C string of ours.
        unsafe { writes::one(AT_FDCWD, path.as_ptr().cast::<c_char>(), false, Names::Change, |_, _| real()) }
    }
}
