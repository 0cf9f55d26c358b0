//! Tells whether another process may have a duplicate of a descriptor of a staged file, as far as the kernel tells.
//!
//! A process gets a duplicate by fork, from its parent or from one before it. A process that passes a descriptor on mostly
//! keeps it too. So a descriptor is this process's alone if the process opened it itself, and neither its parent nor a
//! child has a duplicate. A process that inherited one may have brothers, also when their parent has closed it or ended. Who
//! sends a descriptor through a socket, or leaves it to a child's child, is not noticed.

use core::ffi::{CStr, c_int};

use pyshm_format::Entry;

use crate::base::sys;
use crate::base::text::{decimal, join};
use crate::stage::mapped::Stage;
use crate::stage::own_fds::Numbers;

/// Whether another process may have a duplicate of `fd`, a descriptor of the staged file of `e`.
#[inline(never)]
pub fn may_be_shared(stage: &Stage, fd: c_int, e: &Entry<'static>) -> bool {
    !stage.remembers(fd, e)
        || matches!(duplicate(sys::parent(), fd), Duplicate::Some)
        || sys::has_children() && children_have(fd)
}

/// What is known of another process's duplicates of a descriptor.
enum Duplicate {
    /// It may have one.
    Some,
    /// It has none.
    None,
    /// Its descriptors cannot be seen.
    Unseen,
}

/// Looks for a duplicate of `fd` in a process.
#[inline(never)]
fn duplicate(process: u32, fd: c_int) -> Duplicate {
    let mut name = [0; 40];
    let (mut of_process, mut of_fd) = ([0; 10], [0; 10]);
    let process_digits = decimal(process, &mut of_process);
    let _ = join(&mut name, &[b"/proc/", process_digits, b"/fd"]);
    let (Ok(own), Some(numbers)) = (sys::fstat(fd), c_name(&name).map(Numbers::of)) else {
        return Duplicate::Some;
    };
    if numbers.is_missing() {
        return Duplicate::Unseen;
    }
    for number in numbers {
        // Looking at a file that this process does not have may take as long as a file server that is down.
        match sys::is_duplicate(process, number, fd) {
            Some(true) => return Duplicate::Some,
            Some(false) => continue,
            None => {}
        }
        let digits = decimal(u32::try_from(number).unwrap_or(0), &mut of_fd);
        if join(&mut name, &[b"/proc/", process_digits, b"/fd/", digits, b"\0"]).is_none() {
            return Duplicate::Some;
        }
        // SAFETY: `join` wrote the NUL.
        let theirs = unsafe { sys::stat(name.as_ptr().cast()) };
        if theirs.is_ok_and(|st| (st.st_dev, st.st_ino) == (own.st_dev, own.st_ino)) {
            return Duplicate::Some;
        }
    }
    Duplicate::None
}

/// Whether a child may have a duplicate: each thread's children are in a file of `/proc`.
#[inline(never)]
fn children_have(fd: c_int) -> bool {
    let tasks = Numbers::of(c"/proc/self/task");
    if tasks.is_missing() {
        return true;
    }
    for task in tasks {
        let (mut name, mut digits) = ([0; 48], [0; 10]);
        let task = decimal(u32::try_from(task).unwrap_or(0), &mut digits);
        let _ = join(&mut name, &[b"/proc/self/task/", task, b"/children"]);
        let Some(Ok(file)) = c_name(&name).map(|name| sys::open(name, libc::O_RDONLY)) else {
            return true;
        };
        let mut text = [0; 256];
        let n = sys::read(file, &mut text).unwrap_or(text.len());
        sys::close(file);
        // Some thirty children; more may not be listed.
        let Some(list) = text.get(..n).filter(|list| list.len() < text.len() - 12) else {
            return true;
        };
        let mut children = list.split(|&b| b == b' ').filter(|child| !child.is_empty());
        if children.any(|child| {
            let number = core::str::from_utf8(child).ok().and_then(|child| child.parse().ok());
            number.is_none_or(|child| !matches!(duplicate(child, fd), Duplicate::None))
        }) {
            return true;
        }
    }
    false
}

fn c_name(name: &[u8]) -> Option<&CStr> {
    CStr::from_bytes_until_nul(name).ok()
}
