//! Asks the kernel for the canonical path of a name that the index cannot resolve.

use core::ffi::c_int;

use crate::base::scratch::{PATH_MAX, Scratch};
use crate::base::sys;
use crate::base::text::{at_last_slash, put};
use crate::decide::view::Follow;
use crate::stage::descriptor::fd_target;

/// Asks the kernel to resolve `path`, writes the canonical path into `link`, and returns the canonical path's length in
/// bytes. If `path` does not exist or `follow` forbids following its last name, the kernel resolves only the parent
/// directory. `None` if the kernel cannot resolve that either.
#[inline(never)]
pub fn ask_kernel(
    dirfd: c_int,
    path: &[u8],
    follow: Follow,
    link: &mut [u8; PATH_MAX],
) -> Option<usize> {
    let mut scratch = Scratch::zeroed();
    let mut resolve = |name: &[u8], tail: &[u8]| -> Option<usize> {
        let c = scratch.c_str(name)?;
        // SAFETY: `c` is a C string.
        let fd = unsafe { sys::openat(dirfd, c.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) }.ok()?;
        let mut len = fd_target(fd, link).map_or(0, <[u8]>::len);
        sys::close(fd);
        if tail.first().is_some_and(|&b| b != b'/') {
            // A `tail` without a slash in front is the last name alone.
            *link.get_mut(len)? = b'/';
            len += 1;
        }
        put(link, len, tail)
    };
    let trimmed =
        path.iter().rposition(|&b| b != b'/').and_then(|i| path.get(..=i)).unwrap_or(path);
    if follow.is_yes()
        && let Some(len) = resolve(trimmed, b"")
    {
        return Some(len);
    }
    let (parent, name) = match at_last_slash(trimmed) {
        None => (&b"."[..], trimmed),
        Some((b"", name)) => (&b"/"[..], name),
        Some(split) => split,
    };
    resolve(parent, name)
}
