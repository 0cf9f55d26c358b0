//! Holds the directories from a walk's start to its current one, and closes some of them if too many are open.
//!
//! If more directories would be open than the caller allows, the unread names of the outermost open directory are read
//! into memory, and that directory is closed.

use core::ffi::{CStr, c_char, c_int};
use core::ptr;

use libc::{AT_FDCWD, DIR};
use pyshm_core::base::sys;

use crate::hooks::directories::dirent::{closedir, fdopendir, opendir, readdir64};
use crate::hooks::files::open::openat;
use crate::libc_calls::heap::{Array, release};
use crate::libc_calls::lazy_libc;

/// A directory that the walk is in.
#[derive(Clone, Copy)]
pub struct Level {
    /// The directory's stream; null if it was closed to make room.
    pub stream: *mut DIR,
    /// The stream's descriptor, or -1.
    pub fd: c_int,
    /// The names that were still unread when the stream was closed, each with its NUL, and an empty name at the end.
    /// They are freed with the level.
    pub names: *mut u8,
}

/// The directories from the walk's start to the current one.
pub struct Levels {
    all: Array<Level>,
    /// The number of directories that may be open.
    most: usize,
}

impl Levels {
    /// Starts without a directory. At most `most` directories may be open. One directory may be open even if `most` is
    /// smaller.
    pub fn new(most: usize) -> Self {
        Self { all: Array::new(), most: most.max(1) }
    }

    /// Number of directories.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Reduces by one the number of directories that may be open. At least one may always be open.
    pub fn spare_one(&mut self) {
        self.most = (self.most - 1).max(1);
    }

    /// The directory at `depth`.
    pub fn get(&self, depth: usize) -> Option<Level> {
        self.all.all().get(depth).copied()
    }

    /// The descriptor of the directory at `depth`, or -1.
    pub fn fd(&self, depth: usize) -> c_int {
        self.get(depth).map_or(-1, |l| l.fd)
    }

    /// The descriptor of the current directory, or -1.
    pub fn last_fd(&self) -> c_int {
        self.all.all().last().map_or(-1, |l| l.fd)
    }

    /// Closes a directory if one more open directory would be too many. `None` without memory.
    pub fn make_room(&mut self) -> Option<()> {
        match self.len().checked_sub(self.most) {
            Some(other) => self.save(other),
            None => Some(()),
        }
    }

    /// Opens a directory on a new level. `None` with errno set if that fails.
    ///
    /// # Safety
    /// `name` must be a C string.
    pub unsafe fn open(&mut self, dirfd: c_int, name: *const c_char) -> Option<()> {
        // SAFETY: the caller guarantees a C string.
        let stream = unsafe {
            if dirfd == AT_FDCWD {
                opendir::hook(name)
            } else {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK;
                let fd = openat::hook(dirfd, name, flags, 0);
                if fd < 0 {
                    return None;
                }
                let stream = fdopendir::hook(fd);
                if stream.is_null() {
                    sys::close(fd);
                }
                stream
            }
        };
        if stream.is_null() {
            return None;
        }
        // SAFETY: the stream is open.
        let fd = unsafe { lazy_libc::dirfd(stream) };
        let pushed = self.all.push(Level { stream, fd, names: ptr::null_mut() });
        if pushed.is_none() {
            // SAFETY: the stream is open, and no level holds it.
            unsafe { closedir::hook(stream) };
        }
        pushed
    }

    /// Reads the unread names of the directory at `depth` into memory and closes the directory.
    fn save(&mut self, depth: usize) -> Option<()> {
        let Some(level) = self.all.all_mut().get_mut(depth) else { return Some(()) };
        if level.stream.is_null() {
            return Some(());
        }
        let mut names = Array::new();
        // SAFETY: the stream is open, and the name of a filled entry is a C string.
        unsafe {
            loop {
                let entry = readdir64::hook(level.stream);
                if entry.is_null() {
                    break;
                }
                names.extend(
                    CStr::from_ptr((&raw const (*entry).d_name).cast()).to_bytes_with_nul(),
                )?;
            }
            names.push(0)?;
            closedir::hook(level.stream);
        }
        *level = Level { stream: ptr::null_mut(), fd: -1, names: names.into_raw() };
        Some(())
    }

    /// Leaves the current directory. Keeps errno.
    pub fn close(&mut self) {
        let Some(level) = self.all.pop() else { return };
        let errno = sys::errno();
        // SAFETY: the stream is open or null, and the names are memory of the level or null.
        unsafe {
            if !level.stream.is_null() {
                closedir::hook(level.stream);
            }
            release(level.names.cast());
        }
        sys::set_errno(errno);
    }
}
