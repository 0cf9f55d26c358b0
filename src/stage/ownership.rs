//! Decides which directories and files are trusted below a root that other users can reach.
//!
//! A trusted directory belongs to the user, and nobody else may write to it. A trusted file lies in such a directory,
//! is a regular file of the user, and has no second name.
//!
//! Invariants:
//! - No function here waits, although an ordinary open of a FIFO would.
//! - No function here follows a symbolic link in the last component.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};

/// The owner that a user namespace shows for every user it does not know, such as the host's root in a container.
const UNKNOWN_USER: u32 = 65534;

/// Checks that no other user can exchange the files and directories that this process creates in `root`, a canonical
/// path. Each directory above `root` is checked too.
///
/// # Errors
/// [`Error::Untrusted`] names the directory in which another user can exchange files or directories.
pub(super) fn root(root: &Path) -> Result<()> {
    let me = rustix::process::geteuid().as_raw();
    for dir in root.ancestors() {
        let m = std::fs::metadata(dir).map_err(Error::read("root directory", dir))?;
        if ![0, me, UNKNOWN_USER].contains(&m.uid()) {
            return Err(untrusted(
                dir,
                "it belongs to another user, who may exchange what lies in it",
            ));
        }
        if m.mode() & 0o022 != 0 && m.mode() & 0o1000 == 0 {
            return Err(untrusted(
                dir,
                "other users may write to it, and it has no sticky bit, so that other users may exchange what lies in it",
            ));
        }
    }
    Ok(())
}

/// Whether `path` is a directory that belongs to this user and has none of the permissions in `closed`; `false` when
/// nothing has that name.
///
/// # Errors
/// [`Error::Untrusted`] when anything else has the name.
pub(super) fn directory(path: &Path, closed: u32) -> Result<bool> {
    let Some(m) = metadata(path)? else { return Ok(false) };
    if !m.is_dir() {
        return Err(untrusted(path, &format!("it is {}, not a directory", kind(&m))));
    }
    if m.uid() != rustix::process::geteuid().as_raw() {
        return Err(untrusted(path, "it belongs to another user"));
    }
    if m.mode() & closed != 0 {
        let reason = format!(
            "others may enter or change it (its mode is {:04o}, and should be 0700)",
            m.mode() & 0o7777
        );
        return Err(untrusted(path, &reason));
    }
    Ok(true)
}

/// Whether `path` is a regular file that belongs to this user and has no other name; `false` when nothing has that
/// name. Its mode does not matter, since the directory is closed to others.
///
/// # Errors
/// [`Error::Untrusted`] when anything else has the name.
pub(super) fn file(path: &Path) -> Result<bool> {
    let Some(m) = metadata(path)? else { return Ok(false) };
    match objection(&m) {
        Some(reason) => Err(untrusted(path, &reason)),
        None => Ok(true),
    }
}

/// Opens a trusted file for reading, without waiting.
///
/// # Errors
/// The error of the system, or the reason why the file is not trusted.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match objection(&file.metadata()?) {
        Some(reason) => Err(io::Error::other(reason)),
        None => Ok(file),
    }
}

/// Reads a trusted file.
///
/// # Errors
/// As [`open`].
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a directory.
///
/// # Errors
/// The error of the system, also when something else than a directory has the name.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn metadata(path: &Path) -> Result<Option<std::fs::Metadata>> {
    match std::fs::symlink_metadata(path) {
        Ok(m) => Ok(Some(m)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::write(path)(e)),
    }
}

fn objection(m: &std::fs::Metadata) -> Option<String> {
    if !m.is_file() {
        Some(format!("it is {}, not a file", kind(m)))
    } else if m.uid() != rustix::process::geteuid().as_raw() {
        Some("it belongs to another user".into())
    } else if m.nlink() > 1 {
        Some("it has another name as well (a hard link)".into())
    } else {
        None
    }
}

fn kind(m: &std::fs::Metadata) -> &'static str {
    let of = m.file_type();
    if of.is_symlink() {
        "a symbolic link"
    } else if of.is_dir() {
        "a directory"
    } else if of.is_fifo() {
        "a FIFO"
    } else if of.is_socket() {
        "a socket"
    } else if of.is_file() {
        "a file"
    } else {
        "a device"
    }
}

fn untrusted(path: &Path, reason: &str) -> Error {
    Error::Untrusted { path: path.to_path_buf(), reason: reason.into() }
}
