//! Asks the kernel for the canonical path of a name that the index cannot resolve.

use core::ffi::c_int;

use crate::base::scratch::Scratch;
use crate::base::sys;
use crate::base::text::{at_last_slash, put};
use crate::decide::view::Follow;
use crate::stage::descriptor::fd_path;
use crate::stage::mapped::Stage;

/// Why the canonical path of a name is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// The name's directory does not exist, or the stage was closed because this process could not ask for it.
    Missing,
    /// The canonical path is longer than the kernel tells, and longer than every path of the index.
    TooLong,
}

/// Writes the path to which the kernel resolves `path` into `link` and returns its length in bytes. If `path` does not
/// exist or its end is not followed, the kernel resolves its parent directory. If the kernel cannot because no descriptor
/// is left or `/proc` is missing, the stage is closed.
#[inline(never)]
pub fn ask_kernel(
    stage: &Stage,
    dirfd: c_int,
    path: &[u8],
    follow: Follow,
    link: &mut [u8],
) -> Result<usize, Unknown> {
    let mut scratch = Scratch::zeroed();
    let mut resolve = |name: &[u8], tail: &[u8]| -> Result<usize, Unknown> {
        let c = scratch.c_str(name).ok_or(Unknown::Missing)?;
        // SAFETY: `c` is a C string.
        let fd = match unsafe { sys::openat(dirfd, c.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) } {
            Ok(fd) => fd,
            Err(e) => {
                if matches!(e, libc::EMFILE | libc::ENFILE | libc::ENOMEM) {
                    stage.close_blind();
                }
                return Err(Unknown::Missing);
            }
        };
        let target = fd_path(fd, link).map(<[u8]>::len);
        sys::close(fd);
        let mut len = match target {
            Ok(len) => len,
            Err(libc::ENAMETOOLONG) if !stage.has_long_paths() => return Err(Unknown::TooLong),
            Err(_) => {
                stage.close_blind();
                return Err(Unknown::Missing);
            }
        };
        if tail.first().is_some_and(|&b| b != b'/') {
            // A `tail` without a slash in front is the last name alone.
            *link.get_mut(len).ok_or(Unknown::TooLong)? = b'/';
            len += 1;
        }
        put(link, len, tail).ok_or(Unknown::TooLong)
    };
    let trimmed =
        path.iter().rposition(|&b| b != b'/').and_then(|i| path.get(..=i)).unwrap_or(path);
    if follow.is_yes() {
        match resolve(trimmed, b"") {
            Err(Unknown::Missing) => {}
            known => return known,
        }
    }
    let (parent, name) = match at_last_slash(trimmed) {
        None => (&b"."[..], trimmed),
        Some((b"", name)) => (&b"/"[..], name),
        Some(split) => split,
    };
    resolve(parent, name)
}
