//! Checks by a file's recorded mode and owner, and by the calling thread's identity of the moment, whether the thread may read,
//! write or execute it.

use core::ffi::c_int;
use core::sync::atomic::Ordering;

use libc::{R_OK, W_OK, X_OK};
use pyshm_format::barrier::{OVERRIDE, READ_SEARCH};
use pyshm_format::{Entry, Kind};

use crate::base::sys::{self, Ids};
use crate::stage::current::stage;
use crate::stage::identity::{self, OTHER_NAMESPACE};

/// Checks that the original's file system would allow `want`, which are bits of access(2). Fails with the error number
/// that the kernel would give.
///
/// If the file has an access control list, the kernel is asked about the original, because the mode bits do not hold
/// the users and groups of the list.
/// The same holds in another user namespace, where the kernel knows which owners the thread's user and capabilities concern.
/// The directories on the way were checked when the path was decided.
pub fn check(e: &Entry<'static>, want: c_int, ids: Ids) -> Result<(), c_int> {
    if want & !(R_OK | W_OK | X_OK) != 0 {
        return Err(libc::EINVAL);
    }
    if want == 0 {
        return Ok(());
    }
    let s = e.stat();
    let read_only = stage()
        .and_then(|stage| stage.index().prefix(e.prefix()))
        .is_some_and(|p| p.is_read_only());
    if want & W_OK != 0 && read_only && e.kind() != Kind::Other {
        return Err(libc::EROFS);
    }
    if e.has_acl() || OTHER_NAMESPACE.load(Ordering::Acquire) {
        let flags = match ids {
            Ids::Effective => libc::AT_EACCESS,
            Ids::Real => 0,
        };
        // SAFETY: an entry's path has a NUL behind it.
        let answer =
            unsafe { sys::faccessat(libc::AT_FDCWD, e.path().as_ptr().cast(), want, flags) };
        return answer.map(|_| ());
    }
    // R_OK, W_OK and X_OK are the mode's own bits.
    let lacks = |bits: u32| want as u32 & !bits != 0;
    if !lacks(s.mode & s.mode >> 3 & s.mode >> 6) {
        return Ok(());
    }
    let (uid, gid) = identity::user(ids);
    let bits = if s.uid == uid {
        s.mode >> 6
    } else if s.gid == gid || identity::in_group(s.gid) {
        s.mode >> 3
    } else {
        s.mode
    };
    if lacks(bits) && !passes_over(e, want, identity::powers(ids)) {
        return Err(libc::EACCES);
    }
    Ok(())
}

/// Whether capabilities pass over the mode.
fn passes_over(e: &Entry<'static>, want: c_int, powers: u32) -> bool {
    let directory = e.kind() == Kind::Directory;
    let overrides = directory || want & X_OK == 0 || e.stat().mode & 0o111 != 0;
    let reads = if directory { want & W_OK == 0 } else { want == R_OK };
    powers & OVERRIDE != 0 && overrides || powers & READ_SEARCH != 0 && reads
}
