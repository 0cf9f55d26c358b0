//! Decides how a hook answers a call that reads: from the index, from the staged file, or by the real function.

use core::ffi::{c_char, c_int};
use core::slice;

use libc::AT_FDCWD;
use pyshm_format::Entry;
use pyshm_format::state::Operation;

use crate::base::scratch::{PATH_MAX, Scratch};
use crate::base::thin_callback::{Callback, call_through};
use crate::decide::view::{Decision, Follow, Found, Walked, Want};
use crate::decide::walk;
use crate::path::argument::{PathArg, bytes};
use crate::path::fast_path::{Look, look};
use crate::path::fd_link;
use crate::path::resolve::absolute;
use crate::stage::current::stage;
use crate::stage::mapped::Stage;

/// What a hook has to do, in C's terms.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Call the real function with this directory and path.
    Pass(c_int, *const c_char),
    /// Answer from the entry, or use the entry's staged file.
    Redirect(Entry<'static>),
    /// Fail with this error number.
    Absent(c_int),
}

/// Decides what a reading call does with a path, and passes the answer to `obey`.
///
/// # Safety
/// `arg.path` as in [`bytes`].
#[inline]
pub unsafe fn read<R>(arg: PathArg, want: Want, obey: impl FnOnce(Answer) -> R) -> R {
    // SAFETY: the caller guarantees what `look` and `read_after` ask for.
    unsafe { read_after(look(arg.path), arg, want, obey) }
}

/// [`read`] for a path that [`look`] has already seen.
///
/// # Safety
/// `arg.path` as in [`bytes`], and `seen` must be the result of [`look`] for this path, or [`Look::Unclear`].
#[inline]
pub unsafe fn read_after<R>(
    seen: Look,
    arg: PathArg,
    want: Want,
    obey: impl FnOnce(Answer) -> R,
) -> R {
    let pass = Answer::Pass(arg.dirfd, arg.path);
    if seen == Look::Outside {
        return obey(pass);
    }
    let Some(stage) = stage() else { return obey(pass) };
    let (text, found) = if let Look::Inside(length) = seen {
        // SAFETY: the caller guarantees that `look` gave this length, so `length` readable bytes precede the NUL.
        let text = unsafe { slice::from_raw_parts(arg.path.cast(), length) };
        (text, stage.view.find_inside(text, arg.follow))
    } else {
        // SAFETY: the caller guarantees what `look_closer` asks for.
        let Some(looked) = (unsafe { look_closer(stage, arg) }) else { return obey(pass) };
        looked
    };
    match found {
        Some(Found::Outside) => obey(pass),
        Some(found) => {
            let decision = stage.view.decide(Walked { found, len: 0 }, want);
            obey(answer(stage, decision, arg.dirfd, arg.path))
        }
        None => call_through(obey, |obey| decide_on_absolute(stage, arg, text, want, obey)),
    }
}

/// Gives the path's bytes, and where the path leads if the index knows that without a walk. `None` if the path goes to
/// the kernel unchanged.
///
/// # Safety
/// `arg.path` as in [`bytes`].
unsafe fn look_closer<'a>(
    stage: &Stage,
    arg: PathArg,
) -> Option<(&'a [u8], Option<Found<'static>>)> {
    // SAFETY: the caller guarantees what `bytes` asks for.
    let text = unsafe { bytes(arg.path) }?;
    if text.first() == Some(&b'/') {
        let found = stage.view.find_fast(text, arg.follow);
        // A name that leads through a descriptor, such as `/proc/self/fd/3`, is spelled like a path outside every
        // prefix. But the descriptor may be one that the shim redirected.
        let is_link = matches!(found, Some(Found::Outside)) && fd_link::parse(text).is_some();
        return Some((text, found.filter(|_| !is_link)));
    }
    (!text.is_empty()).then_some((text, None))
}

fn answer(stage: &Stage, decision: Decision<'static>, dirfd: c_int, path: *const c_char) -> Answer {
    match decision {
        Decision::Redirect(e) => {
            stage.count(Operation::Answered);
            Answer::Redirect(e)
        }
        Decision::Absent(errno) => {
            stage.count(Operation::Answered);
            Answer::Absent(errno)
        }
        Decision::Pass => {
            stage.count(Operation::Passed);
            Answer::Pass(dirfd, path)
        }
        Decision::Outside | Decision::PassAs(_) => Answer::Pass(dirfd, path),
    }
}

/// Makes the path absolute and decides on the absolute path.
#[inline(never)]
fn decide_on_absolute(
    stage: &Stage,
    arg: PathArg,
    text: &[u8],
    want: Want,
    obey: Callback<'_, Answer>,
) {
    let mut buf = [0; PATH_MAX];
    let Some(abs) = absolute(stage, arg.dirfd, text, arg.follow, &mut buf) else {
        return obey.call(Answer::Pass(arg.dirfd, arg.path));
    };
    let own = abs.argument(arg);
    match stage.view.find_fast(abs.path, arg.follow) {
        Some(found) => {
            let decision = stage.view.decide(Walked { found, len: 0 }, want);
            obey.call(answer(stage, decision, own.0, own.1));
        }
        None => decide_by_walk(stage, abs.path, own, arg.follow, want, obey),
    }
}

/// Decides on an absolute path that only a walk resolves. If the path passes, the real function gets the directory and
/// path in `own`.
#[inline(never)]
fn decide_by_walk(
    stage: &Stage,
    abs: &[u8],
    own: (c_int, *const c_char),
    follow: Follow,
    want: Want,
    obey: Callback<'_, Answer>,
) {
    let mut scratch = Scratch::zeroed();
    let walked = walk::walk(&stage.view, abs, follow, &mut scratch);
    let decision = stage.view.decide(walked, want);
    if let Decision::PassAs(len) = decision {
        return obey.call(Answer::Pass(AT_FDCWD, scratch.path_nul(len).as_ptr().cast()));
    }
    obey.call(answer(stage, decision, own.0, own.1));
}
