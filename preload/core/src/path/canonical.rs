//! Asks the kernel for the canonical path of a name that the index cannot resolve.

use core::ffi::c_int;

use crate::base::scratch::Scratch;
use crate::base::sys;
use crate::base::text::{at_last_slash, put};
use crate::decide::view::Follow;
use crate::stage::descriptor::fd_target;
use crate::stage::mapped::Stage;

/// Writes the path to which the kernel resolves `path` into `link` and returns its length in bytes. If `path` does not
/// exist or its end is not followed, the kernel resolves its parent directory. `None` if the kernel cannot. If that is
/// because no descriptor is left or `/proc` is missing, the stage is closed.
#[inline(never)]
pub fn ask_kernel(
    stage: &Stage,
    dirfd: c_int,
    path: &[u8],
    follow: Follow,
    link: &mut [u8],
) -> Option<usize> {
    let mut scratch = Scratch::zeroed();
    let mut resolve = |name: &[u8], tail: &[u8]| -> Option<usize> {
        let c = scratch.c_str(name)?;
        // SAFETY: `c` is a C string.
        let fd = match unsafe { sys::openat(dirfd, c.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) } {
            Ok(fd) => fd,
            Err(e) => {
                if matches!(e, libc::EMFILE | libc::ENFILE | libc::ENOMEM) {
                    stage.close_blind();
                }
                return None;
            }
        };
        let target = fd_target(fd, link).map(<[u8]>::len);
        sys::close(fd);
        let Some(mut len) = target else {
            stage.close_blind();
            return None;
        };
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
