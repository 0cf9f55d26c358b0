//! Creates the files of a staged tree, with the mode and times that every staged file has.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyshm_format::hash_path;
use pyshm_format::layout::staged_access_time;
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};

use crate::manifest::entry::{EntryRecord, EntryStat};

/// The original's modification time, and an access time by which the shim recognises the staged file.
pub(super) fn file_times(entry: &EntryRecord) -> Timestamps {
    let (sec, nsec) = staged_access_time(hash_path(&entry.path));
    Timestamps { last_access: Timespec { tv_sec: sec, tv_nsec: nsec.into() }, ..times(&entry.stat) }
}

/// Permission bits of a staged file: the original's, always readable for the owner, never set-user-id.
pub(super) fn staged_mode(stat: &EntryStat) -> Mode {
    Mode::from_raw_mode((stat.mode & 0o777) | 0o400)
}

/// The original's access and modification times.
pub(super) fn times(stat: &EntryStat) -> Timestamps {
    let time = |(sec, nsec): (i64, u32)| Timespec { tv_sec: sec, tv_nsec: nsec.into() };
    Timestamps { last_access: time(stat.atime), last_modification: time(stat.mtime) }
}

/// Creates files of a staged tree.
pub(super) struct FileMaker {
    /// `<stage>/fs`
    root: PathBuf,
    umask: Mode,
}

/// Keeps the directory open that a thread used last, since consecutive files mostly lie in the same directory.
#[derive(Default)]
pub(super) struct LastDirectory(Option<(PathBuf, OwnedFd)>);

impl LastDirectory {
    /// Returns the directory `path` below `root`, and opens the directory unless the last call opened it already. All
    /// calls pass the same `root`.
    pub fn at(&mut self, root: &Path, path: &Path) -> io::Result<&OwnedFd> {
        if self.0.as_ref().is_some_and(|(known, _)| known != path) {
            self.0 = None;
        }
        match &mut self.0 {
            Some((_, fd)) => Ok(fd),
            none => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::open(below(root, path), flags, Mode::empty())?;
                Ok(&none.insert((path.to_path_buf(), fd)).1)
            }
        }
    }
}

impl FileMaker {
    /// Returns a maker of files below `root`, which is `<stage>/fs`.
    pub fn new(root: PathBuf) -> Self {
        Self { root, umask: current_umask() }
    }

    /// The root of the tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Creates an empty file for `entry`. The directory in which the entry lies must exist. It can be trusted, since it
    /// was made from the same manifest, below a directory of this user.
    pub fn create(&self, entry: &EntryRecord, last: &mut LastDirectory) -> io::Result<File> {
        let path = entry.path();
        let (parent, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        let directory = last.at(&self.root, parent)?;
        let mode = staged_mode(&entry.stat);
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(directory, name, flags, mode)?);
        if mode.intersects(self.umask) {
            rustix::fs::fchmod(&file, mode)?;
        }
        Ok(file)
    }
}

/// Opens a staged file for reading, without a change of its access time.
pub(super) fn open(directory: impl AsFd, name: &OsStr) -> io::Result<File> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOATIME | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?.into())
}

/// Joins `root` and the absolute path `path`; the result is `<root><path>`.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    let mut joined = root.as_os_str().to_os_string();
    joined.push(path.as_os_str());
    debug_assert!(path.as_os_str().as_bytes().first() == Some(&b'/'));
    joined.into()
}

/// Reads this process's umask without changing it.
fn current_umask() -> Mode {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let value = value.and_then(|v| u32::from_str_radix(v.trim(), 8).ok());
    // If the umask is unknown, every mode is set explicitly.
    Mode::from_raw_mode(value.unwrap_or(0o777))
}
