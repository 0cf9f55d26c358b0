//! Holds a path as a caller passes it to libc.

use core::ffi::{c_char, c_int};
use core::slice;

use libc::AT_FDCWD;

use crate::base::readable;
use crate::base::scratch::PATH_MAX;
use crate::decide::view::Follow;

/// A path, the directory that it is relative to, and whether a symbolic link at the end of the path is followed.
#[derive(Debug, Clone, Copy)]
pub struct PathArg {
    /// Descriptor of the directory, or AT_FDCWD.
    pub dirfd: c_int,
    /// The path. The pointer is unchecked.
    pub path: *const c_char,
    /// Whether the call follows a symbolic link at the end of the path.
    pub follow: Follow,
}

impl PathArg {
    /// A path relative to a directory.
    #[inline]
    pub fn at(dirfd: c_int, path: *const c_char, follow: Follow) -> Self {
        Self { dirfd, path, follow }
    }

    /// A path for a call with AT flags. The call follows links unless AT_SYMLINK_NOFOLLOW is set.
    #[inline]
    pub fn by_flags(dirfd: c_int, path: *const c_char, flags: c_int) -> Self {
        Self { dirfd, path, follow: Follow::unless(flags & libc::AT_SYMLINK_NOFOLLOW != 0) }
    }

    /// A path for a call that takes no directory and follows links.
    #[inline]
    pub fn followed(path: *const c_char) -> Self {
        Self { dirfd: AT_FDCWD, path, follow: Follow::Yes }
    }

    /// A path for a call that takes no directory and does not follow a link at the end of the path.
    #[inline]
    pub fn unfollowed(path: *const c_char) -> Self {
        Self { dirfd: AT_FDCWD, path, follow: Follow::No }
    }
}

/// Gives the bytes of a C string shorter than PATH_MAX. `None` for a path that the kernel would refuse.
///
/// # Safety
/// `path` may be any pointer. If the pointer can be read, it must lead to a C string that outlives `'a`.
pub unsafe fn bytes<'a>(path: *const c_char) -> Option<&'a [u8]> {
    let mut n = 0;
    while n < PATH_MAX {
        let rest = readable::page_rest((path as usize).checked_add(n)?)?.min(PATH_MAX - n);
        // SAFETY: `page_rest` says that `rest` bytes can be read.
        let more = unsafe { libc::strnlen(path.add(n), rest) };
        n += more;
        if more < rest {
            // SAFETY: `n` readable bytes precede the NUL.
            return Some(unsafe { slice::from_raw_parts(path.cast(), n) });
        }
    }
    None
}
