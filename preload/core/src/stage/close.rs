//! Closes the stage, after which all processes of the node pass everything to the shared file system: in the mapped
//! state file, or in the file itself where a process cannot map the stage.
//!
//! Only a process that cannot mark what it changes does this. A stage that is closed without need costs speed; one that
//! is open without right gives wrong answers.

use core::ffi::{CStr, c_char, c_int};
use core::slice;
use core::sync::atomic::AtomicU64;

use pyshm_format::state::Mark;
use pyshm_format::{Closed, Reason, layout, state};

use crate::base::sys::{self, Access, Ids};
use crate::base::text::join;
use crate::stage::changed_library;
use crate::stage::mapped::Stage;

/// Bytes of the state file that are mapped to close it.
const PAGE: usize = 4096;

impl Stage {
    /// Closes the stage. `program` is the program that is the cause.
    #[cold]
    #[inline(never)]
    pub fn close(&self, reason: Reason, program: &[u8]) {
        let was_open = self.view.diverged.close(reason, program);
        // Who closes the stage leads the loader for all. Where the stage is being removed, nothing is made in it.
        if was_open && reason != Reason::Removed {
            changed_library::lead_to_all_below(self, b"");
        }
    }

    /// Marks a path, by its hash. A set that is full closes the stage.
    pub fn mark(&self, mark: Mark, hash: u64) {
        if self.view.diverged.mark(mark, hash) {
            changed_library::lead_to_all_below(self, b"");
        }
    }

    /// Closes the stage because this process cannot find out what it is about to change.
    #[cold]
    #[inline(never)]
    pub fn close_blind(&self) {
        self.close(Reason::Blind, own_name());
    }
}

/// The name by which the kernel was asked to start this program (getauxval(3), AT_EXECFN).
pub fn own_name() -> &'static [u8] {
    // SAFETY: getauxval reads the process's own vector.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    // SAFETY: null or a C string that the kernel wrote.
    if name.is_null() { b"" } else { unsafe { CStr::from_ptr(name) }.to_bytes() }
}

/// Closes the stage in `dir`, which this process cannot map; `name` is a buffer for the names of its files. Nothing
/// happens where there is no state file of this user's.
#[cold]
#[inline(never)]
pub fn close_file(dir: &[u8], name: &mut [u8], reason: Reason) {
    if join(name, &[dir, b"/", layout::STATE.as_bytes(), b"\0"]).is_none() {
        return;
    }
    let flags = libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: `name` contains a NUL.
    let Ok(fd) = (unsafe { sys::openat(libc::AT_FDCWD, name.as_ptr().cast(), flags) }) else {
        return;
    };
    if is_state(fd) {
        close_opened(fd, reason);
    }
    sys::close(fd);
}

/// Whether a descriptor is of a state file of this user's.
fn is_state(fd: c_int) -> bool {
    let Ok(st) = sys::fstat(fd) else { return false };
    let mut header = [0; state::COUNT];
    let read = sys::pread(fd, &mut header, 0);
    st.st_mode & libc::S_IFMT == libc::S_IFREG
        && st.st_uid == sys::uid(Ids::Effective)
        && read == Ok(state::COUNT)
        && state::check(st.st_size as usize, &header).is_ok()
}

fn close_opened(fd: c_int, reason: Reason) {
    if let Ok(at) = sys::map(fd, PAGE, Access::ReadWrite) {
        // SAFETY: the mapping is page-aligned, PAGE bytes long, writable and unmapped only below; all processes access
        // its words by atomic operations only.
        let words = unsafe { slice::from_raw_parts(at.cast::<AtomicU64>(), PAGE / 8) };
        if let Some(closed) = Closed::new(words) {
            closed.close(reason, own_name());
        }
        // SAFETY: nothing refers to the mapping any more.
        return unsafe { sys::unmap(at, PAGE) };
    }
    // A write behind the limit on the size of files would end the process.
    if sys::limit(libc::RLIMIT_FSIZE).is_ok_and(|most| most > state::CLOSED as u64) {
        // One byte: what other processes do to the word at the same time does not touch it.
        let _ = sys::pwrite(fd, &[reason.bit()], state::CLOSED);
    }
}
