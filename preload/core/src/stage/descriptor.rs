//! Marks redirected descriptors, that is, descriptors that the shim opened on a staged file. Finds the original that
//! such a descriptor stands for.

use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicU32, Ordering};

use pyshm_format::{Entry, Kind, layout};

use crate::base::scratch::PATH_MAX;
use crate::base::sys;
use crate::base::text::{decimal, join};
use crate::stage::mapped::Stage;

/// File status flags that mark a redirected descriptor.
///
/// A program may open a staged file by its *staged* path, for example to clean up /dev/shm. The shim must not translate
/// such a descriptor, or the program would remove originals. The two flags are a safe mark because no other program
/// sets both flags, and both have no effect on regular files and directories of tmpfs. The flags belong to the open
/// file, so they survive dup, fork and exec.
pub const REDIRECTED: c_int = libc::O_NOATIME | libc::O_ASYNC;

/// Flags that, with [`REDIRECTED`], mark a directory that the program opened with O_PATH. An O_PATH descriptor carries
/// no flags, so the shim opens the directory for reading and sets these flags, which have no effect on a directory.
pub const PATH_ONLY: c_int = libc::O_APPEND | libc::O_DIRECTORY;

/// Flag that, with [`PATH_ONLY`], says that the program gave O_DIRECTORY with O_PATH.
pub const PATH_ONLY_DIRECTORY: c_int = libc::O_NONBLOCK;

/// Whether a descriptor with these flags stands for an O_PATH descriptor.
pub fn is_path_only(flags: c_int) -> bool {
    let mark = REDIRECTED | PATH_ONLY;
    flags & mark == mark
}

/// For each descriptor, the number of the entry of the last redirected open, plus one; 0 if there was none.
///
/// These are only hints, which [`Stage::hint`] checks: programs close and duplicate descriptors and, in a vfork child,
/// open them without the shim.
static HINTS: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];

impl Stage {
    /// Remembers the entry for which a redirected open gave this descriptor.
    pub fn remember(&self, fd: c_int, e: &Entry<'static>) {
        let Some(hint) = usize::try_from(fd).ok().and_then(|fd| HINTS.get(fd)) else { return };
        let number = self.index().number(e).and_then(|n| u32::try_from(n + 1).ok());
        hint.store(number.unwrap_or(0), Ordering::Relaxed);
    }

    /// The remembered entry of a redirected descriptor. `None` if the descriptor's attributes `st` do not match the
    /// entry. A staged file has its original's size, mode and modification time, and an access time that no other
    /// staged file has.
    ///
    /// The hint saves asking the kernel for the descriptor's name, which takes ten times as long. Python asks for the
    /// size of every file that it reads.
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
        (same && is_redirected(fd)).then_some(e)
    }

    /// The entry of a redirected descriptor; `None` for any other.
    pub fn entry_of_fd(&self, fd: c_int) -> Option<Entry<'static>> {
        if sys::fstat(fd).ok()?.st_dev != self.dev || !is_redirected(fd) {
            return None;
        }
        let mut buf = [0; PATH_MAX];
        self.view.index.lookup(self.path_of_fd(fd, &mut buf)?)
    }

    /// The original path of a redirected descriptor; `None` for any other.
    pub fn path_of_fd<'b>(&self, fd: c_int, buf: &'b mut [u8; PATH_MAX]) -> Option<&'b [u8]> {
        if !is_redirected(fd) {
            return None;
        }
        let path = fd_target(fd, buf)?;
        Some(self.without_deleted(self.original(path)?))
    }

    /// The original path of a redirected descriptor as a C string; `None` for any other.
    pub fn c_path_of_fd<'b>(&self, fd: c_int, buf: &'b mut [u8; PATH_MAX]) -> Option<&'b CStr> {
        let base = buf.as_ptr() as usize;
        let path = self.path_of_fd(fd, buf)?;
        let (start, len) = (path.as_ptr() as usize - base, path.len());
        *buf.get_mut(start + len)? = 0;
        CStr::from_bytes_until_nul(buf.get(start..)?).ok()
    }
}

/// Whether the shim opened the descriptor on a staged file.
pub fn is_redirected(fd: c_int) -> bool {
    sys::fcntl(fd, libc::F_GETFL, 0).is_ok_and(|flags| flags as c_int & REDIRECTED == REDIRECTED)
}

/// Marks a descriptor that libc has just opened on a staged file. Opens the file again with the flags and puts the new
/// descriptor in the place of the old descriptor, because F_SETFL cannot set O_ASYNC on a file that sends no signals.
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
    // SAFETY: the caller guarantees a C string. dup3 replaces a descriptor that only libc knows by another one of the
    // same file.
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

/// The path to which `/proc/self/fd/<fd>` leads.
pub fn fd_target(fd: c_int, buf: &mut [u8; PATH_MAX]) -> Option<&[u8]> {
    let mut name = [0; 32];
    join(&mut name, &[b"/proc/self/fd/", decimal(u32::try_from(fd).ok()?, &mut [0; 10])])?;
    // SAFETY: `name` ends with NULs.
    let n = unsafe { sys::readlinkat(libc::AT_FDCWD, name.as_ptr().cast(), buf) }.ok()?;
    buf.get(..n)
}
