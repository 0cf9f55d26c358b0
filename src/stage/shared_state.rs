//! Maps a stage's `state` file, which ranks change at the same time by atomic operations.
//!
//! A mapping needs `unsafe`. The file is mapped all the same, because ordinary writes to the file would lose marks that
//! ranks of other jobs add at the same time.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use pyshm_format::{Diverged, layout, state};
use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A mapped state file.
pub(super) struct SharedState {
    at: *mut std::ffi::c_void,
}

impl SharedState {
    /// Maps the state file of the stage in `dir`.
    ///
    /// # Errors
    /// The error of the system, or one that says why the file is no state file of this user.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(dir.join(layout::STATE), flags, Mode::empty())?);
        let m = file.metadata()?;
        if !m.is_file() || m.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it is not a file of this user's"));
        }
        let mut header = [0; state::COUNT];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut header, 0)?;
        state::check(m.size() as usize, &header).map_err(|e| io::Error::other(e.to_string()))?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses; nothing else knows of it.
        let at = unsafe {
            mmap(std::ptr::null_mut(), state::FILE_BYTES, access, MapFlags::SHARED, &file, 0)
        }?;
        Ok(Self { at })
    }

    /// The set of divergence marks; never `None`, as [`open`](Self::open) refuses a file that is too short.
    pub fn diverged(&self) -> Option<Diverged<'_>> {
        // SAFETY: the mapping is page-aligned, FILE_BYTES long, writable, and lives as long as `self`; all processes
        // access its words by atomic operations only. If the file were truncated meanwhile, SIGBUS would end this
        // process and the ranks. Only this user can truncate the file, and pyshm never does.
        let words = unsafe {
            std::slice::from_raw_parts(self.at.cast::<AtomicU64>(), state::FILE_BYTES / 8)
        };
        Diverged::new(words)
    }
}

impl Drop for SharedState {
    fn drop(&mut self) {
        // SAFETY: mapped by `open` with this length; every borrow of it has ended.
        let _ = unsafe { munmap(self.at, state::FILE_BYTES) };
    }
}
