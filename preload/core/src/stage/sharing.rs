//! Tells whether another process may have a duplicate of a descriptor of a staged file, as far as the kernel tells.
//!
//! A process gets a duplicate by fork, from its parent or from one before it. So a descriptor that this program opened
//! itself, while it has no children and its parent has not the same file under the same number, is this process's alone.
//! Who sends a descriptor through a socket, or leaves it to a child's child, is not noticed.

use core::ffi::c_int;

use pyshm_format::Entry;

use crate::base::sys;
use crate::base::text::{decimal, join};
use crate::stage::mapped::Stage;

/// Whether another process may have a duplicate of `fd`, a descriptor of the staged file of `e`.
#[inline(never)]
pub fn may_be_shared(stage: &Stage, fd: c_int, e: &Entry<'static>) -> bool {
    !stage.remembers(fd, e) || sys::has_children() || parent_has(fd)
}

/// Whether the parent has the same file under the same number. It has not if its descriptors cannot be seen: then it is
/// another user's, and did not make this process by a fork alone.
fn parent_has(fd: c_int) -> bool {
    let mut name = [0; 40];
    let (mut process, mut number) = ([0; 10], [0; 10]);
    let Ok(digits) = u32::try_from(fd) else { return false };
    let parts = [
        b"/proc/",
        decimal(sys::parent(), &mut process),
        b"/fd/",
        decimal(digits, &mut number),
        b"\0",
    ];
    if join(&mut name, &parts).is_none() {
        return true;
    }
    // SAFETY: `join` wrote the NUL.
    let theirs = unsafe { sys::stat(name.as_ptr().cast()) };
    let (Ok(theirs), Ok(own)) = (theirs, sys::fstat(fd)) else { return false };
    (theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino)
}
