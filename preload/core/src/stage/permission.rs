//! What a user may do with a file, from its recorded mode and owner.

use core::ffi::c_int;

use libc::{R_OK, W_OK, X_OK};
use pyshm_format::{Entry, Kind};

use crate::base::sys;
use crate::stage::current::stage;

const ST_RDONLY: u64 = 1;

/// Whether the file system the original lies on would allow this; its error number if not.
///
/// Where an access control list rules, the kernel is asked of the original: neither its users' and groups' names nor its
/// mask are in the mode bits.
pub fn check(e: &Entry<'static>, want: c_int, effective: bool) -> Result<(), c_int> {
    if want & !(R_OK | W_OK | X_OK) != 0 {
        return Err(libc::EINVAL);
    }
    if want == 0 {
        return Ok(());
    }
    if e.has_acl() {
        let flags = if effective { libc::AT_EACCESS } else { 0 };
        // SAFETY: an entry's path has a NUL behind it.
        let answer =
            unsafe { sys::faccessat(libc::AT_FDCWD, e.path().as_ptr().cast(), want, flags) };
        return answer.map(|_| ());
    }
    let s = e.stat();
    let uid = sys::uid(effective);
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
    } else if s.gid == sys::gid(effective) || in_group(s.gid) {
        s.mode >> 3
    } else {
        s.mode
    };
    // R_OK, W_OK and X_OK are the mode's own bits.
    if want as u32 & !bits == 0 { Ok(()) } else { Err(libc::EACCES) }
}

/// Whether the process is in this supplementary group.
fn in_group(gid: u32) -> bool {
    let mut groups = [0; 256];
    let n = sys::getgroups(&mut groups).unwrap_or(0);
    groups.get(..n).is_some_and(|groups| groups.contains(&gid))
}
