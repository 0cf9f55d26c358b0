//! Descriptors that the shim opened on a staged file in the original's place: their mark, and what they stand for.

use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicU32, Ordering};

use pyshm_format::{Entry, Kind, layout};

use crate::base::scratch::PATH_MAX;
use crate::base::sys;
use crate::base::text::decimal;
use crate::base::text::join;
use crate::stage::mapped::Stage;

/// File status flags that mark a descriptor as redirected by the shim.
///
/// A staged file that the program opened by its *staged* path (someone who cleans up /dev/shm, say) must not be taken
/// for the original: removing what it contains would remove the original. Both flags together are set by nobody else,
/// mean nothing on a regular file or directory of tmpfs, belong to the open file itself, and so survive dup, fork and
/// exec.
pub const REDIRECTED: c_int = libc::O_NOATIME | libc::O_ASYNC;

/// With [`REDIRECTED`], and on a directory: opened with O_PATH. A descriptor of O_PATH itself carries no flags, so it could
/// not be marked; this flag means nothing on a directory.
pub const PATH_ONLY: c_int = libc::O_APPEND | libc::O_DIRECTORY;

/// With [`PATH_ONLY`]: O_DIRECTORY was given beside O_PATH.
pub const PATH_ONLY_DIRECTORY: c_int = libc::O_NONBLOCK;

/// Whether these flags of a descriptor say that it stands for one of O_PATH.
pub fn is_path_only(flags: c_int) -> bool {
    let mark = REDIRECTED | PATH_ONLY;
    flags & mark == mark
}

impl Stage {
    /// The entry that a descriptor was opened from, if it is one of the stage's files.
    pub fn entry_of_fd(&self, fd: c_int) -> Option<Entry<'static>> {
        if sys::fstat(fd).ok()?.st_dev != self.dev || !redirected(fd) {
            return None;
        }
        let mut buf = [0; PATH_MAX];
        self.view.index.lookup(self.path_of_fd(fd, &mut buf)?)
    }

    /// Remembers what a redirected open has just given a descriptor to.
    pub fn remember(&self, fd: c_int, e: &Entry<'static>) {
        let Some(hint) = usize::try_from(fd).ok().and_then(|fd| HINTS.get(fd)) else { return };
        let number = self.index().number(e).and_then(|n| u32::try_from(n + 1).ok());
        hint.store(number.unwrap_or(0), Ordering::Relaxed);
    }

    /// The file a redirected descriptor was opened from, if it is the one remembered: `st` says what the descriptor
    /// has now, and a staged file has its original's size, mode and time of modification, and a time of access of its
    /// own. Asking the kernel for its
    /// name instead costs ten times as much, and every file that Python reads is asked for its size.
    pub fn hint(&self, fd: c_int, st: &libc::stat) -> Option<Entry<'static>> {
        let number =
            HINTS.get(usize::try_from(fd).ok()?)?.load(Ordering::Relaxed).checked_sub(1)?;
        let e = self.index().entry(number as usize)?;
        let s = e.stat();
        let name = layout::staged_access_time(e.hash());
        let same = e.kind() == Kind::File
            && (s.size, s.mode) == (st.st_size as u64, st.st_mode)
            && (s.mtime.sec, i64::from(s.mtime.nsec)) == (st.st_mtime, st.st_mtime_nsec)
            && (name.0, i64::from(name.1)) == (st.st_atime, st.st_atime_nsec);
        (same && redirected(fd)).then_some(e)
    }

    /// The original path of a descriptor that was redirected to one of the stage's files.
    pub fn path_of_fd<'b>(&self, fd: c_int, buf: &'b mut [u8; PATH_MAX]) -> Option<&'b [u8]> {
        if !redirected(fd) {
            return None;
        }
        let path = fd_link(fd, buf)?;
        Some(self.kept(self.original(path)?))
    }

    /// The same as a C string.
    pub fn c_path_of_fd<'b>(&self, fd: c_int, buf: &'b mut [u8; PATH_MAX]) -> Option<&'b CStr> {
        let base = buf.as_ptr() as usize;
        let path = self.path_of_fd(fd, buf)?;
        let (start, len) = (path.as_ptr() as usize - base, path.len());
        *buf.get_mut(start + len)? = 0;
        CStr::from_bytes_until_nul(buf.get(start..)?).ok()
    }
}

/// Entries by descriptor, as redirected opens last left them: number + 1. Only a hint, because descriptors are closed,
/// duplicated and, in a vfork child, opened without our knowledge; [`Stage::hint`] proves it.
static HINTS: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];

/// Whether the shim opened a staged file in the original's place.
pub fn redirected(fd: c_int) -> bool {
    sys::fcntl(fd, libc::F_GETFL, 0).is_ok_and(|flags| flags as c_int & REDIRECTED == REDIRECTED)
}

/// Marks a descriptor that libc has just opened on a staged file for us, by exchanging its open file for one that is
/// opened with the marking flags: F_SETFL does not set O_ASYNC on what cannot send signals.
///
/// # Safety
/// `path` must be the C string that libc opened.
pub unsafe fn mark_redirected(fd: c_int, path: *const c_char) {
    let (Ok(status), Ok(close)) =
        (sys::fcntl(fd, libc::F_GETFL, 0), sys::fcntl(fd, libc::F_GETFD, 0))
    else {
        return;
    };
    let cloexec = if close as c_int & libc::FD_CLOEXEC != 0 { libc::O_CLOEXEC } else { 0 };
    // SAFETY: by the caller's word; dup3 replaces a descriptor that nobody else knows yet by one of the same kind.
    unsafe {
        let Ok(marked) =
            sys::openat(libc::AT_FDCWD, path, status as c_int | REDIRECTED | libc::O_CLOEXEC)
        else {
            return;
        };
        let _ = sys::dup3(marked, fd, cloexec);
        sys::close(marked);
    }
}

/// What `/proc/self/fd/<fd>` names.
pub fn fd_link(fd: c_int, buf: &mut [u8; PATH_MAX]) -> Option<&[u8]> {
    let mut name = [0; 32];
    join(&mut name, &[b"/proc/self/fd/", decimal(u32::try_from(fd).ok()?, &mut [0; 10])])?;
    // SAFETY: `name` ends with NULs.
    let n = unsafe { sys::readlinkat(libc::AT_FDCWD, name.as_ptr().cast(), buf) }.ok()?;
    buf.get(..n)
}
