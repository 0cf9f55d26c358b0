//! Marks redirected descriptors, that is, descriptors that the shim opened on a staged file. Finds the original that
//! such a descriptor stands for.

use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pyshm_format::{Entry, Kind, layout};

use crate::base::buffer::Buffer;
use crate::base::sys;
use crate::base::text::{decimal, join};
use crate::stage::mapped::Stage;
use crate::stage::own_fds::note_opened;

/// File status flags that mark a redirected descriptor.
///
/// A program may open a staged file by its *staged* path, for example to clean up /dev/shm. The shim must not translate
/// such a descriptor, or the program would remove originals. The two flags are a safe mark because no other program
/// sets both flags, and both have no effect on regular files and directories of tmpfs. The flags belong to the open
/// file, so they survive dup, fork and exec.
pub const REDIRECTED: c_int = libc::O_NOATIME | libc::O_ASYNC;

/// For each descriptor, the number of the entry of the last redirected open, plus one, in the low half; 0 if there was none.
/// The high half is the value of [`FORKS`] at that time.
///
/// These are only hints, which [`Stage::hint`] checks: programs close and duplicate descriptors and, in a vfork child,
/// open them without the shim.
static HINTS: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// How many forks lie between the start of this program and this process.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Notes that this process is a new one, a fork. What it remembers, its parent has opened.
pub extern "C" fn note_forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The last redirected open that gave a descriptor this number.
struct Hint {
    /// The number of the entry.
    entry: usize,
    /// The value of [`FORKS`].
    forks: u32,
}

impl Hint {
    fn of(fd: c_int) -> Option<Self> {
        let hint = HINTS.get(usize::try_from(fd).ok()?)?.load(Ordering::Relaxed);
        Some(Self { entry: (hint as u32).checked_sub(1)? as usize, forks: (hint >> 32) as u32 })
    }
}

impl Stage {
    /// Remembers the entry for which a redirected open gave this descriptor.
    pub fn remember(&self, fd: c_int, e: &Entry<'static>) {
        note_opened();
        let Some(hint) = usize::try_from(fd).ok().and_then(|fd| HINTS.get(fd)) else { return };
        let number = self.index().number(e).and_then(|n| u32::try_from(n + 1).ok());
        let forks = u64::from(FORKS.load(Ordering::Relaxed)) << 32;
        hint.store(number.map_or(0, |n| forks | u64::from(n)), Ordering::Relaxed);
    }

    /// Whether this process itself opened `fd` on the staged file of `e`.
    pub fn remembers(&self, fd: c_int, e: &Entry<'static>) -> bool {
        Hint::of(fd).is_some_and(|hint| {
            hint.forks == FORKS.load(Ordering::Relaxed)
                && self.index().number(e) == Some(hint.entry)
        })
    }

    /// The remembered entry of a redirected descriptor. `None` if the descriptor's attributes `st` do not match the
    /// entry. A staged file has its original's size, mode and modification time, and an access time that no other
    /// staged file has.
    ///
    /// The hint saves asking the kernel for the descriptor's name, which takes ten times as long. Python asks for the
    /// size of every file that it reads.
    pub fn hint(&self, fd: c_int, st: &libc::stat) -> Option<Entry<'static>> {
        let e = self.index().entry(Hint::of(fd)?.entry)?;
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
        let mut buf = Buffer::zeroed();
        self.view.index.lookup(self.path_of_fd(fd, &mut buf)?)
    }

    /// The entry of an original that is open as `fd` and has the attributes `st`, if its inode is not known, so that only its
    /// name tells the entry.
    #[inline(never)]
    pub fn entry_by_name(&self, fd: c_int, st: &libc::stat) -> Option<Entry<'static>> {
        if !self.index().lacks_inodes() {
            return None;
        }
        let mut buf = Buffer::zeroed();
        let e = self.index().lookup(fd_target(fd, &mut buf)?)?;
        (!e.has_inode() && self.is_original(&e, st)).then_some(e)
    }

    /// The original path of a redirected descriptor.
    pub fn path_of_fd<'b>(&self, fd: c_int, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        if !is_redirected(fd) {
            return None;
        }
        let path = self.target(fd, buf)?;
        Some(self.without_deleted(self.original(path)?))
    }

    /// The name of a redirected descriptor's staged file. Where `/proc` is missing, the remembered entry tells it, if its
    /// staged file is the one that is open.
    pub fn target<'b>(&self, fd: c_int, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        if let Some(len) = fd_target(fd, buf).map(<[u8]>::len) {
            return buf.get(..len);
        }
        let e = self.index().entry(Hint::of(fd)?.entry)?;
        let open = sys::fstat(fd).ok()?;
        // SAFETY: an entry's names are C strings.
        let named = unsafe { sys::lstat(e.pristine().as_ptr().cast()) }.ok()?;
        if (named.st_dev, named.st_ino) != (open.st_dev, open.st_ino) {
            return None;
        }
        let len = join(buf, &[e.pristine()])?;
        buf.get(..len)
    }

    /// The original path of a redirected descriptor, as a C string.
    pub fn c_path_of_fd<'b>(&self, fd: c_int, buf: &'b mut [u8]) -> Option<&'b CStr> {
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
        note_opened();
    }
}

/// The path to which `/proc/self/fd/<fd>` leads.
pub fn fd_target(fd: c_int, buf: &mut [u8]) -> Option<&[u8]> {
    fd_path(fd, buf).ok()
}

/// [`fd_target`], or the error number: ENAMETOOLONG if the path is longer than the kernel tells (proc(5)).
pub fn fd_path(fd: c_int, buf: &mut [u8]) -> Result<&[u8], c_int> {
    let number = u32::try_from(fd).map_err(|_| libc::EBADF)?;
    let n = match read_link(b"/proc/self/fd/", number, buf) {
        // The main thread has ended before the others.
        Err(libc::ENOENT) => read_link(b"/proc/thread-self/fd/", number, buf),
        done => done,
    }?;
    buf.get(..n).ok_or(libc::ENAMETOOLONG)
}

fn read_link(dir: &[u8], number: u32, buf: &mut [u8]) -> sys::Result {
    let mut name = [0; 40];
    join(&mut name, &[dir, decimal(number, &mut [0; 10])]).ok_or(libc::EBADF)?;
    // SAFETY: `name` ends with NULs.
    unsafe { sys::readlinkat(libc::AT_FDCWD, name.as_ptr().cast(), buf) }
}
