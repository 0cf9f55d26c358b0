//! Gives the original's path to a call that must not reach the staged copy but changes nothing that the index records.

use core::ffi::{c_char, c_int};

use crate::base::scratch::PATH_MAX;
use crate::base::thin_callback::{Callback, call_through};
use crate::path::argument::{PathArg, bytes};
use crate::path::fd_link;
use crate::path::resolve::absolute;
use crate::stage::current::stage;
use crate::stage::descriptor::is_redirected;
use crate::stage::mapped::Stage;

/// What an empty path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyPath {
    /// The descriptor itself (AT_EMPTY_PATH). With this flag, a null pointer means the same as an empty path.
    Descriptor,
    /// Nothing: the kernel refuses an empty path.
    Refused,
}

impl EmptyPath {
    /// The meaning of an empty path in a call with these flags.
    #[inline]
    pub fn by_flags(flags: c_int) -> Self {
        if flags & libc::AT_EMPTY_PATH != 0 { Self::Descriptor } else { Self::Refused }
    }
}

/// Calls `real` with a directory and path that name the original. If the caller's directory is a staged one, or the
/// path leads through a staged descriptor, `real` gets the original's absolute path.
///
/// # Safety
/// `arg.path` as in [`bytes`].
pub unsafe fn original<R>(
    arg: PathArg,
    empty: EmptyPath,
    real: impl FnOnce(c_int, *const c_char) -> R,
) -> R {
    let Some(stage) = stage() else { return real(arg.dirfd, arg.path) };
    let descriptor = empty == EmptyPath::Descriptor;
    // SAFETY: the caller guarantees what `bytes` asks for.
    let text = match unsafe { bytes(arg.path) } {
        None if descriptor && arg.path.is_null() => &[],
        None => return real(arg.dirfd, arg.path),
        Some(text) => text,
    };
    let concerned = match text.first() {
        None => descriptor && is_redirected(arg.dirfd),
        Some(b'/') => fd_link::parse(text).is_some(),
        // A relative path may begin at a redirected directory, or at a directory with links to redirected descriptors
        // (`/proc/self/fd`).
        Some(_) => true,
    };
    if !concerned {
        return real(arg.dirfd, arg.path);
    }
    call_through(|(dirfd, path)| real(dirfd, path), |real| call_on_original(stage, arg, text, real))
}

#[inline(never)]
fn call_on_original(
    stage: &Stage,
    arg: PathArg,
    text: &[u8],
    real: Callback<'_, (c_int, *const c_char)>,
) {
    let mut buf = [0; PATH_MAX];
    match absolute(stage, arg.dirfd, text, arg.follow, &mut buf) {
        Some(abs) => real.call(abs.argument(arg)),
        None => real.call((arg.dirfd, arg.path)),
    }
}
