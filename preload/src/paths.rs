//! From what a caller passes to a decision: relative paths, directory descriptors, bad pointers.
//!
//! What must stay true:
//! - The working directory is asked of the kernel each time: a cached one would be wrong after chdir in a vfork
//!   child, which shares our memory.
//! - A working directory in the stage is one the program went to by that name: it is not translated.
//! - A path relative to a redirected directory's descriptor never reaches the kernel as it is where it passes: it
//!   would hit the staged copy. It is replaced by the original absolute path.
//! - The frames with path buffers are entered only when they are needed: a signal handler may run on a small stack.

use core::ffi::{c_char, c_int};
use core::slice;

use libc::AT_FDCWD;
use pyshm_format::Entry;

use crate::route::{Decision, Found, PATH_MAX, Scratch, Walked, Want};
use crate::stage::{Stage, fd_link, redirected, stage};
use crate::{readable, sys};

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

/// The descriptor that a path names as one of this process's own.
pub fn own_fd(path: &[u8]) -> Option<c_int> {
    let number = path.strip_prefix(b"/proc/self/fd/").or_else(|| path.strip_prefix(b"/dev/fd/"))?;
    core::str::from_utf8(number).ok()?.parse().ok()
}

/// One of this process's own descriptors and a name below it, as in `/proc/self/fd/3/name`.
pub fn below_own_fd(path: &[u8]) -> Option<(c_int, &[u8])> {
    let start = [&b"/proc/self/fd/"[..], b"/dev/fd/"].into_iter().find(|s| path.starts_with(s))?;
    let slash = start.len() + path.get(start.len()..)?.iter().position(|&b| b == b'/')?;
    let name = path.get(slash..)?;
    let name = name.get(name.iter().position(|&b| b != b'/')?..)?;
    Some((own_fd(path.get(..slash)?)?, name))
}

/// A path made absolute; `moved` if its directory is the stage's, so that the caller's own spelling must not be used.
pub struct Absolute<'b> {
    /// Absolute path in original terms.
    pub path: &'b [u8],
    /// See above.
    pub moved: bool,
}

/// Makes `path` absolute, in original terms.
pub fn absolute<'b>(
    stage: &Stage,
    dirfd: c_int,
    path: &[u8],
    buf: &'b mut [u8; PATH_MAX],
) -> Option<Absolute<'b>> {
    if path.first() == Some(&b'/') {
        buf.get_mut(..path.len())?.copy_from_slice(path);
        return Some(Absolute { path: buf.get(..path.len())?, moved: false });
    }
    let n = if dirfd == AT_FDCWD { sys::getcwd(buf).ok()? } else { fd_link(dirfd, buf)?.len() };
    let dir = buf.get(..n)?;
    if dir.first() != Some(&b'/') {
        return None;
    }
    let mut start = 0;
    let mut end = n;
    if dirfd != AT_FDCWD
        && let Some(original) = stage.original(dir)
        && redirected(dirfd)
    {
        start = n - original.len();
        end = start + stage.kept(original).len();
    }
    if !path.is_empty() {
        *buf.get_mut(end)? = b'/';
        buf.get_mut(end + 1..end + 1 + path.len())?.copy_from_slice(path);
        end += 1 + path.len();
    }
    // Room for a NUL.
    *buf.get_mut(end)? = 0;
    Some(Absolute { path: buf.get(start..end)?, moved: start > 0 })
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
        if let Some(found) = stage.view.find_fast(text, follow) {
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
    let mut obey = Some(obey);
    let mut result = None;
    slow(stage, dirfd, path, text, follow, want, &mut |answer| {
        result = obey.take().map(|obey| obey(answer))
    });
    match result {
        Some(r) => r,
        // `slow` calls its argument exactly once on every way.
        None => unreachable!(),
    }
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
    obey: &mut dyn FnMut(Answer),
) {
    let mut buf = [0; PATH_MAX];
    let Some(abs) = absolute(stage, dirfd, text, &mut buf) else {
        return obey(Answer::Pass(dirfd, path));
    };
    // Where the path passes although its directory is a staged one, its absolute spelling goes; `buf` has a NUL.
    let own = if abs.moved { (AT_FDCWD, abs.path.as_ptr().cast()) } else { (dirfd, path) };
    match stage.view.find_fast(abs.path, follow) {
        Some(found) => {
            let decision = stage.view.decide(Walked { found, len: 0 }, want);
            obey(answer(stage, decision, own.0, own.1));
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
    obey: &mut dyn FnMut(Answer),
) {
    let mut scratch = Scratch::new();
    let walked = stage.view.walk(abs, follow, &mut scratch);
    let decision = stage.view.decide(walked, want);
    if let Decision::PassAs(len) = decision {
        return obey(Answer::Pass(AT_FDCWD, scratch.path_nul(len).as_ptr().cast()));
    }
    obey(answer(stage, decision, own.0, own.1));
}
