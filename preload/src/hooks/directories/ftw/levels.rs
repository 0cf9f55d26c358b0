//! The directories that a walk is in, and which of them are open.

use core::ffi::{CStr, c_int};
use core::ptr;

use libc::{AT_FDCWD, DIR};

use super::{Walk, chdir};
use crate::hooks::directories::dirent::my_closedir;
use crate::hooks::directories::dirent::my_fdopendir;
use crate::hooks::directories::dirent::my_opendir;
use crate::hooks::directories::dirent::my_readdir64;
use crate::hooks::files::cwd::my_fchdir;
use crate::hooks::files::open::my_openat;
use crate::libc_calls::heap::Array;
use crate::libc_calls::heap::release;
use pyshm_core::base::sys;

/// A directory that the walk is in.
#[derive(Clone, Copy)]
pub struct Level {
    /// Null once it was closed for another.
    pub stream: *mut DIR,
    /// The stream's, or -1.
    pub fd: c_int,
    /// What was left of it then: names, each with its NUL, and an empty one. Ours to free.
    pub names: *mut u8,
}

impl Walk {
    /// Opens the directory at `path`, which lies at `depth`, and closes another for it where that is too many.
    pub fn open(&mut self, depth: usize) -> Option<()> {
        if let Some(other) = depth.checked_sub(self.most) {
            self.save(other)?;
        }
        let fd = depth.checked_sub(1).and_then(|d| self.levels.all().get(d)).map_or(-1, |l| l.fd);
        let (dirfd, name) = self.place(fd);
        // SAFETY: a C string of ours.
        let stream = unsafe {
            if dirfd == AT_FDCWD {
                my_opendir(name)
            } else {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK;
                let fd = my_openat(dirfd, name, flags, 0);
                if fd < 0 {
                    return None;
                }
                let stream = my_fdopendir(fd);
                if stream.is_null() {
                    sys::close(fd);
                }
                stream
            }
        };
        if stream.is_null() {
            return None;
        }
        // SAFETY: an open stream.
        let fd = unsafe { libc::dirfd(stream) };
        let pushed = self.levels.push(Level { stream, fd, names: ptr::null_mut() });
        if pushed.is_none() {
            // SAFETY: as above; nobody else knows it.
            unsafe { my_closedir(stream) };
        }
        pushed
    }

    /// Reads the rest of the directory at `depth` into memory and closes it.
    fn save(&mut self, depth: usize) -> Option<()> {
        let Some(level) = self.levels.all_mut().get_mut(depth) else { return Some(()) };
        if level.stream.is_null() {
            return Some(());
        }
        let mut names = Array::new();
        // SAFETY: the stream is open; a name of a filled entry is a C string.
        unsafe {
            loop {
                let entry = my_readdir64(level.stream);
                if entry.is_null() {
                    break;
                }
                names.extend(
                    CStr::from_ptr((&raw const (*entry).d_name).cast()).to_bytes_with_nul(),
                )?;
            }
            names.push(0)?;
            my_closedir(level.stream);
        }
        *level = Level { stream: ptr::null_mut(), fd: -1, names: names.into_raw() };
        Some(())
    }

    /// Leaves the directory at `depth`, the innermost one.
    pub fn close(&mut self, depth: usize) {
        let Some(level) = self.levels.all().get(depth).copied() else { return };
        self.levels.truncate(depth);
        let errno = sys::errno();
        // SAFETY: an open stream or null; memory of ours or null.
        unsafe {
            if !level.stream.is_null() {
                my_closedir(level.stream);
            }
            release(level.names.cast());
        }
        sys::set_errno(errno);
    }

    /// Goes back to the directory at `depth`, from one in it.
    pub fn back(&mut self, depth: usize) -> c_int {
        let fd = self.levels.all().get(depth).map_or(-1, |l| l.fd);
        // SAFETY: a descriptor of ours; C strings.
        unsafe {
            if fd >= 0 && my_fchdir(fd) == 0 {
                return 0;
            }
            chdir(if self.place.base == 1 { c"/".as_ptr() } else { c"..".as_ptr() })
        }
    }
}
