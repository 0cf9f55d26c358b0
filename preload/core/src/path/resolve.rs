//! From what a caller passes to a decision: relative paths, directory descriptors, bad pointers.
//!
//! What must stay true:
//! - The working directory is asked of the kernel each time: a cached one would be wrong after chdir in a vfork
//!   child, which shares our memory.
//! - A working directory in the stage is one the program went to by that name: it is not translated.
//! - A path relative to a redirected directory's descriptor, or through `/proc/self/fd`, never reaches the kernel as it
//!   is where it passes: it would hit the staged copy. It is replaced by the original absolute path.
//! - The frames with path buffers are entered only when they are needed: a signal handler may run on a small stack.

use core::ffi::{c_char, c_int};
use core::slice;

use libc::AT_FDCWD;
use pyshm_format::Entry;

use crate::base::readable;
use crate::base::scratch::PATH_MAX;
use crate::base::scratch::Scratch;
use crate::base::sys;
use crate::base::text::put;
use crate::base::thin_callback::Then;
use crate::base::thin_callback::once;
use crate::decide::view::Decision;
use crate::decide::view::Found;
use crate::decide::view::Walked;
use crate::decide::view::Want;
use crate::decide::walk;
use crate::path::fd_link;
use crate::stage::current::stage;
use crate::stage::descriptor::fd_link;
use crate::stage::descriptor::redirected;
use crate::stage::mapped::Stage;

/// What a hook has to do, in C's terms.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Call the real function with this directory and path.
    Pass(c_int, *const c_char),
    /// The entry answers, or its staged file is used.
    Redirect(Entry<'static>),
    /// Fail with this error number.
    Absent(c_int),
}

/// The bytes of a C string shorter than PATH_MAX; `None` for what the kernel is to refuse.
///
/// # Safety
/// If `path` can be read, it must be a C string that outlives `'a`.
pub unsafe fn bytes<'a>(path: *const c_char) -> Option<&'a [u8]> {
    let mut n = 0;
    while n < PATH_MAX {
        let rest = readable::page_rest((path as usize).checked_add(n)?)?.min(PATH_MAX - n);
        // SAFETY: that many bytes can be read.
        let more = unsafe { libc::strnlen(path.add(n), rest) };
        n += more;
        if more < rest {
            // SAFETY: as many bytes precede the NUL.
            return Some(unsafe { slice::from_raw_parts(path.cast(), n) });
        }
    }
    None
}

/// A path made absolute; `moved` if its directory is the stage's, so that the caller's own spelling must not be used.
pub struct Absolute<'b> {
    /// Absolute path in original terms.
    pub path: &'b [u8],
    /// See above.
    pub moved: bool,
}

/// A name that does not exist.
const NOWHERE: &[u8] = b"/proc/self/moved";

/// Whether a directory's descriptor is of what is no longer there under its name `buf[start..end]`: moved to where nobody
/// knows, or removed. What took its name must not be taken for it.
fn is_lost(stage: &Stage, buf: &[u8; PATH_MAX], start: usize, end: usize) -> bool {
    stage.view.diverged.any() && buf.get(start..end).is_some_and(|path| stage.is_replaced(path))
}

/// Makes `path` absolute, in original terms. `follow`: whether a symbolic link at its end is followed.
pub fn absolute<'b>(
    stage: &Stage,
    dirfd: c_int,
    path: &[u8],
    follow: bool,
    buf: &'b mut [u8; PATH_MAX],
) -> Option<Absolute<'b>> {
    let (mut start, mut end, rest) = match path.first() {
        Some(b'/') => {
            let link = fd_link::parse(path).filter(|link| follow || !link.rest.is_empty());
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
                _ => fd_link(dirfd, buf)?.len(),
            };
            let dir = buf.get(..n)?;
            if dir.first() != Some(&b'/') {
                return None;
            }
            let place = if dirfd == AT_FDCWD { None } else { stage.part_of(dir) };
            match place.filter(|_| redirected(dirfd)) {
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
    // Room for a NUL.
    *buf.get_mut(end)? = 0;
    if start == 0 && path.first() != Some(&b'/') && in_proc(buf) {
        (start, end) = through_link(stage, end, follow, buf).unwrap_or((start, end));
    }
    Some(Absolute { path: buf.get(start..end)?, moved: start > 0 })
}

/// Whether a path, not of the caller's spelling, may lead through a descriptor.
fn in_proc(path: &[u8]) -> bool {
    path.starts_with(b"/proc/") || path.starts_with(b"/dev/")
}

/// Replaces `buf[..end]`, if it leads through a redirected descriptor, by the original path: where in `buf` that starts
/// and ends. For names relative to `/proc/self/fd`.
#[inline(never)]
fn through_link(
    stage: &Stage,
    end: usize,
    follow: bool,
    buf: &mut [u8; PATH_MAX],
) -> Option<(usize, usize)> {
    let mut name = [0; PATH_MAX];
    put(&mut name, 0, buf.get(..end)?)?;
    let link = fd_link::parse(name.get(..end)?).filter(|l| follow || !l.rest.is_empty())?;
    let (start, end) = link.original(stage, buf)?;
    let end = put(buf, end, link.rest)?;
    *buf.get_mut(end)? = 0;
    Some((start, end))
}

/// Calls `real` with what names the original: where the caller's directory is a staged one, or its path leads through a
/// staged descriptor, that is an absolute path. For calls that need no more than not to reach the stage.
/// `empty`: an empty path means the descriptor itself.
///
/// # Safety
/// `path` as in [`bytes`].
pub unsafe fn original<R>(
    dirfd: c_int,
    path: *const c_char,
    follow: bool,
    empty: bool,
    real: impl FnOnce(c_int, *const c_char) -> R,
) -> R {
    let Some(stage) = stage() else { return real(dirfd, path) };
    // SAFETY: by the caller's word. Where an empty path is allowed, so is a null pointer.
    let text = match unsafe { bytes(path) } {
        None if empty && path.is_null() => &[],
        None => return real(dirfd, path),
        Some(text) => text,
    };
    let concerned = match text.first() {
        None => empty && redirected(dirfd),
        Some(b'/') => fd_link::parse(text).is_some(),
        // Its directory may be a redirected one, or one of links to such.
        Some(_) => true,
    };
    if !concerned {
        return real(dirfd, path);
    }
    once(|(dirfd, path)| real(dirfd, path), |real| moved(stage, dirfd, path, text, follow, real))
}

#[inline(never)]
fn moved(
    stage: &Stage,
    dirfd: c_int,
    path: *const c_char,
    text: &[u8],
    follow: bool,
    real: Then<'_, (c_int, *const c_char)>,
) {
    let mut buf = [0; PATH_MAX];
    match absolute(stage, dirfd, text, follow, &mut buf) {
        Some(abs) if abs.moved => real.call((AT_FDCWD, abs.path.as_ptr().cast())),
        _ => real.call((dirfd, path)),
    }
}

/// Whether a walk of a tree from `path` may meet a prefix: the path lies under one, or above one.
///
/// # Safety
/// `path` as in [`bytes`].
#[inline(never)]
pub unsafe fn meets_prefix(path: *const c_char) -> bool {
    let Some(stage) = stage() else { return false };
    // SAFETY: by the caller's word.
    let Some(text) = (unsafe { bytes(path) }).filter(|text| !text.is_empty()) else { return false };
    let mut buf = [0; PATH_MAX];
    let Some(abs) = absolute(stage, AT_FDCWD, text, true, &mut buf) else { return false };
    let Some(Found::Outside) = stage.view.find_fast(abs.path, true) else { return true };
    let top = abs.path.strip_suffix(b"/").unwrap_or(abs.path);
    let above = |prefix: &[u8]| prefix.strip_prefix(top).is_some_and(|r| r.first() == Some(&b'/'));
    stage.index().prefixes().any(|p| above(p.path))
}

/// Asks for a decision on a path and hands it to `obey`.
///
/// # Safety
/// `path` as in [`bytes`].
#[inline]
pub unsafe fn ask<R>(
    dirfd: c_int,
    path: *const c_char,
    follow: bool,
    want: Want,
    obey: impl FnOnce(Answer) -> R,
) -> R {
    let Some(stage) = stage() else { return obey(Answer::Pass(dirfd, path)) };
    // SAFETY: by the caller's word.
    let Some(text) = (unsafe { bytes(path) }) else { return obey(Answer::Pass(dirfd, path)) };
    if text.first() == Some(&b'/') {
        if let Some(found) = stage.view.find_fast(text, follow)
            && !(matches!(found, Found::Outside) && fd_link::parse(text).is_some())
        {
            // Most paths of most programs.
            if matches!(found, Found::Outside) {
                return obey(Answer::Pass(dirfd, path));
            }
            let decision = stage.view.decide(Walked { found, len: 0 }, want);
            return obey(answer(stage, decision, dirfd, path));
        }
    } else if text.is_empty() {
        return obey(Answer::Pass(dirfd, path));
    }
    once(obey, |obey| slow(stage, dirfd, path, text, follow, want, obey))
}

fn answer(stage: &Stage, decision: Decision<'static>, dirfd: c_int, path: *const c_char) -> Answer {
    match decision {
        Decision::Redirect(e) => {
            stage.count(true);
            Answer::Redirect(e)
        }
        Decision::Absent(errno) => {
            stage.count(true);
            Answer::Absent(errno)
        }
        Decision::Pass => {
            stage.count(false);
            Answer::Pass(dirfd, path)
        }
        Decision::Outside | Decision::PassAs(_) => Answer::Pass(dirfd, path),
    }
}

#[inline(never)]
fn slow(
    stage: &Stage,
    dirfd: c_int,
    path: *const c_char,
    text: &[u8],
    follow: bool,
    want: Want,
    obey: Then<'_, Answer>,
) {
    let mut buf = [0; PATH_MAX];
    let Some(abs) = absolute(stage, dirfd, text, follow, &mut buf) else {
        return obey.call(Answer::Pass(dirfd, path));
    };
    // Where the path passes although its directory is a staged one, its absolute spelling goes; `buf` has a NUL.
    let own = if abs.moved { (AT_FDCWD, abs.path.as_ptr().cast()) } else { (dirfd, path) };
    match stage.view.find_fast(abs.path, follow) {
        Some(found) => {
            let decision = stage.view.decide(Walked { found, len: 0 }, want);
            obey.call(answer(stage, decision, own.0, own.1));
        }
        None => walk(stage, abs.path, own, follow, want, obey),
    }
}

#[inline(never)]
fn walk(
    stage: &Stage,
    abs: &[u8],
    own: (c_int, *const c_char),
    follow: bool,
    want: Want,
    obey: Then<'_, Answer>,
) {
    let mut scratch = Scratch::new();
    let walked = walk::walk(&stage.view, abs, follow, &mut scratch);
    let decision = stage.view.decide(walked, want);
    if let Decision::PassAs(len) = decision {
        return obey.call(Answer::Pass(AT_FDCWD, scratch.path_nul(len).as_ptr().cast()));
    }
    obey.call(answer(stage, decision, own.0, own.1));
}
