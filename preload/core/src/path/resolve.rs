//! Makes a caller's path absolute and translates paths of the stage into original paths.
//!
//! Invariants:
//! - The kernel is asked for the working directory each time. A cached working directory would be wrong after chdir in
//!   a vfork child, which shares this memory.
//! - A working directory in the stage is not translated, because the program changed into this directory by its staged
//!   name.
//! - A path relative to a redirected directory's descriptor, or through `/proc/self/fd`, never reaches the kernel
//!   unchanged, because the kernel would find the staged copy. The original's absolute path takes its place.
//! - A function with a buffer for a path on its stack is called only when the buffer is needed, because a signal
//!   handler may run on a small stack.

use core::ffi::{c_char, c_int};

use libc::AT_FDCWD;

use crate::base::scratch::PATH_MAX;
use crate::base::sys;
use crate::base::text::put;
use crate::decide::view::{Follow, Found};
use crate::path::argument::{PathArg, bytes};
use crate::path::fd_link;
use crate::stage::current::stage;
use crate::stage::descriptor::{fd_target, is_redirected};
use crate::stage::mapped::Stage;

/// A path made absolute.
pub struct Absolute<'b> {
    /// The absolute original path. If [`moved`](Self::moved) is set, a NUL follows it.
    pub path: &'b [u8],
    /// Whether the caller's own spelling leads into the stage and must not be used.
    pub moved: bool,
}

impl Absolute<'_> {
    /// The directory and path for the real function: the absolute path if [`moved`](Self::moved) is set, else the
    /// caller's own.
    pub fn argument(&self, own: PathArg) -> (c_int, *const c_char) {
        if self.moved { (AT_FDCWD, self.path.as_ptr().cast()) } else { (own.dirfd, own.path) }
    }
}

/// A name that no file has.
const NOWHERE: &[u8] = b"/proc/self/moved";

/// Whether the directory behind a descriptor was moved or removed, so that the path in `buf[start..end]` no longer
/// names the directory. Another file that took the name must not be mistaken for the directory.
fn is_lost(stage: &Stage, buf: &[u8; PATH_MAX], start: usize, end: usize) -> bool {
    stage.view.diverged.any() && buf.get(start..end).is_some_and(|path| stage.is_replaced(path))
}

/// Makes `path` absolute and translates it into an original path. `None` if the result is too long or the directory has
/// no name.
pub fn absolute<'b>(
    stage: &Stage,
    dirfd: c_int,
    path: &[u8],
    follow: Follow,
    buf: &'b mut [u8; PATH_MAX],
) -> Option<Absolute<'b>> {
    let (mut start, mut end, rest) = match path.first() {
        Some(b'/') => {
            let link = fd_link::parse(path).filter(|l| follow.is_yes() || !l.rest.is_empty());
            match link.and_then(|link| Some((link.original(stage, buf)?, link.rest))) {
                Some(((start, end), rest)) => (start, end, rest),
                None => {
                    let end = put(buf, 0, path)?;
                    return Some(Absolute { path: buf.get(..end)?, moved: false });
                }
            }
        }
        _ => {
            let n = match dirfd {
                AT_FDCWD => sys::getcwd(buf).ok()?,
                _ => fd_target(dirfd, buf)?.len(),
            };
            let dir = buf.get(..n)?;
            if dir.first() != Some(&b'/') {
                return None;
            }
            let place = if dirfd == AT_FDCWD { None } else { stage.original_range(dir) };
            match place.filter(|_| is_redirected(dirfd)) {
                Some((start, end)) if is_lost(stage, buf, start, end) => {
                    (1, put(buf, 1, NOWHERE)?, path)
                }
                place => {
                    let (start, end) = place.unwrap_or((0, n));
                    (start, end, path)
                }
            }
        }
    };
    if !rest.is_empty() {
        if rest.first() != Some(&b'/') {
            *buf.get_mut(end)? = b'/';
            end += 1;
        }
        end = put(buf, end, rest)?;
    }
    *buf.get_mut(end)? = 0;
    if start == 0 && path.first() != Some(&b'/') && is_in_proc(buf) {
        (start, end) = through_link(stage, end, follow, buf).unwrap_or((start, end));
    }
    Some(Absolute { path: buf.get(start..end)?, moved: start > 0 })
}

/// Whether an absolute path, as the kernel spells it, may lead through a descriptor.
fn is_in_proc(path: &[u8]) -> bool {
    path.starts_with(b"/proc/") || path.starts_with(b"/dev/")
}

/// Replaces the path in `buf[..end]` by the original path if the path leads through a redirected descriptor. A name
/// relative to `/proc/self/fd` leads through a descriptor, for example. Returns the start and end of the original path
/// in `buf`; `None` for any other path.
#[inline(never)]
fn through_link(
    stage: &Stage,
    end: usize,
    follow: Follow,
    buf: &mut [u8; PATH_MAX],
) -> Option<(usize, usize)> {
    let mut name = [0; PATH_MAX];
    put(&mut name, 0, buf.get(..end)?)?;
    let link =
        fd_link::parse(name.get(..end)?).filter(|l| follow.is_yes() || !l.rest.is_empty())?;
    let (start, end) = link.original(stage, buf)?;
    let end = put(buf, end, link.rest)?;
    *buf.get_mut(end)? = 0;
    Some((start, end))
}

/// Whether a walk of a tree from `path` may meet a prefix: the path lies under a prefix or above a prefix.
///
/// # Safety
/// `path` as in [`bytes`].
#[inline(never)]
pub unsafe fn meets_prefix(path: *const c_char) -> bool {
    let Some(stage) = stage() else { return false };
    // SAFETY: the caller guarantees what `bytes` asks for.
    let Some(text) = (unsafe { bytes(path) }).filter(|text| !text.is_empty()) else { return false };
    let mut buf = [0; PATH_MAX];
    let Some(abs) = absolute(stage, AT_FDCWD, text, Follow::Yes, &mut buf) else { return false };
    let Some(Found::Outside) = stage.view.find_fast(abs.path, Follow::Yes) else { return true };
    let top = abs.path.strip_suffix(b"/").unwrap_or(abs.path);
    let above = |prefix: &[u8]| prefix.strip_prefix(top).is_some_and(|r| r.first() == Some(&b'/'));
    stage.index().prefixes().any(|p| above(p.path))
}
