//! Tells whether another process may have a duplicate of a descriptor of a staged file, as far as the kernel tells.
//!
//! A process gets a duplicate by fork, from its parent or from one before it. So a descriptor that this program opened
//! itself is this process's alone if neither its parent nor a child has the same file under the same number, or as one of
//! the standard streams. Who sends a descriptor through a socket, or leaves it to a child's child, is not noticed.

use core::ffi::{CStr, c_int};

use pyshm_format::Entry;

use crate::base::sys;
use crate::base::text::{decimal, join};
use crate::stage::mapped::Stage;
use crate::stage::own_fds::Numbers;

/// Whether another process may have a duplicate of `fd`, a descriptor of the staged file of `e`.
#[inline(never)]
pub fn may_be_shared(stage: &Stage, fd: c_int, e: &Entry<'static>) -> bool {
    let Ok(own) = sys::fstat(fd) else { return true };
    !stage.remembers(fd, e)
        || has(sys::parent(), fd, &own)
        || sys::has_children() && children_have(fd, &own)
}

/// Whether a process has the file with the attributes `own` as `fd`, or as one of its standard streams. It has not if its
/// descriptors cannot be seen: then it is another user's, and no fork alone made one of the two processes of the other.
fn has(process: u32, fd: c_int, own: &libc::stat) -> bool {
    let has_as = |number: c_int| {
        let mut name = [0; 40];
        let (mut digits, mut of_fd) = ([0; 10], [0; 10]);
        let number = decimal(u32::try_from(number).unwrap_or(0), &mut of_fd);
        let _ = join(&mut name, &[b"/proc/", decimal(process, &mut digits), b"/fd/", number]);
        let Ok(name) = CStr::from_bytes_until_nul(&name) else { return true };
        // SAFETY: a `CStr` is a C string.
        let found = unsafe { sys::stat(name.as_ptr()) };
        found.is_ok_and(|st| (st.st_dev, st.st_ino) == (own.st_dev, own.st_ino))
    };
    [fd, 0, 1, 2].into_iter().any(has_as)
}

/// Whether a child has the file, or nobody can tell: each thread's children are in a file of `/proc`.
fn children_have(fd: c_int, own: &libc::stat) -> bool {
    let mut any = false;
    for thread in Numbers::of(c"/proc/self/task") {
        any = true;
        let mut name = [0; 48];
        let digits = &mut [0; 10];
        let thread = decimal(u32::try_from(thread).unwrap_or(0), digits);
        let _ = join(&mut name, &[b"/proc/self/task/", thread, b"/children"]);
        let Ok(name) = CStr::from_bytes_until_nul(&name) else { return true };
        let Ok(file) = sys::open(name, libc::O_RDONLY) else { return true };
        let mut text = [0; 512];
        let n = sys::read(file, &mut text).unwrap_or(text.len());
        sys::close(file);
        // Some sixty children; more may not be listed.
        let Some(list) = text.get(..n).filter(|list| list.len() < 500) else { return true };
        let mut children = list.split(|&b| b == b' ').filter(|child| !child.is_empty());
        if children.any(|child| {
            let number = core::str::from_utf8(child).ok().and_then(|child| child.parse().ok());
            number.is_none_or(|child| has(child, fd, own))
        }) {
            return true;
        }
    }
    !any
}
