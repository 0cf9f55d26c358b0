//! Checks by a file's recorded mode and owner whether the user may read, write or execute it.

use core::ffi::c_int;

use libc::{R_OK, W_OK, X_OK};
use pyshm_format::{Entry, Kind};

use crate::base::sys::{self, Ids};
use crate::stage::current::stage;

const ST_RDONLY: u64 = 1;

/// Checks that the original's file system would allow `want`, which are bits of access(2). Fails with the error number
/// that the kernel would give.
///
/// If the file has an access control list, the kernel is asked about the original, because the mode bits do not hold
/// the users and groups of the list.
pub fn check(e: &Entry<'static>, want: c_int, ids: Ids) -> Result<(), c_int> {
    if want & !(R_OK | W_OK | X_OK) != 0 {
        return Err(libc::EINVAL);
    }
    if want == 0 {
        return Ok(());
    }
    if e.has_acl() {
        let flags = match ids {
            Ids::Effective => libc::AT_EACCESS,
            Ids::Real => 0,
        };
        // SAFETY: an entry's path has a NUL behind it.
        let answer =
            unsafe { sys::faccessat(libc::AT_FDCWD, e.path().as_ptr().cast(), want, flags) };
        return answer.map(|_| ());
    }
    let s = e.stat();
    let uid = sys::uid(ids);
    let read_only = stage()
        .and_then(|stage| stage.index().prefix(e.prefix()))
        .is_some_and(|p| p.statfs[10] & ST_RDONLY != 0);
    if want & W_OK != 0 && read_only && e.kind() != Kind::Other {
        return Err(libc::EROFS);
    }
    if uid == 0 {
        let executable = s.mode & 0o111 != 0 || e.kind() == Kind::Directory;
        return if want & X_OK == 0 || executable { Ok(()) } else { Err(libc::EACCES) };
    }
    let bits = if s.uid == uid {
        s.mode >> 6
    } else if s.gid == sys::gid(ids) || in_group(s.gid) {
        s.mode >> 3
    } else {
        s.mode
    };
    // R_OK, W_OK and X_OK have the values of the mode bits.
    if want as u32 & !bits == 0 { Ok(()) } else { Err(libc::EACCES) }
}

/// Whether the process has this supplementary group.
fn in_group(gid: u32) -> bool {
    let mut groups = [0; 256];
    let n = sys::getgroups(&mut groups).unwrap_or(0);
    groups.get(..n).is_some_and(|groups| groups.contains(&gid))
}
