//! Replaces the staged files that the user who stages may not read by links to their originals.
//!
//! The shim leaves such files to the kernel. The loader, which follows search paths into the stage, does not ask the shim;
//! by the link the kernel refuses the original to it too.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pyshm_format::barrier::{READ, WAY};
use pyshm_format::{Entry, Index, Kind, layout};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};

use crate::error::{Error, Result};
use crate::stage::staged_file::below;

/// Replaces the files in the stage in `dir`, which is being built and has this `index`.
///
/// # Errors
/// [`Error::CannotWrite`] names the file that cannot be replaced.
pub(super) fn lead_to_originals(dir: &Path, index: &[u8]) -> Result<()> {
    let Ok(index) = Index::parse(index) else { return Ok(()) };
    let root = dir.join(layout::FS);
    let entries = (0..index.len()).filter_map(|number| index.entry(number));
    let mut changed = BTreeSet::new();
    for entry in entries.filter(is_refused) {
        let original = Path::new(OsStr::from_bytes(entry.path()));
        let staged = below(&root, original);
        std::fs::remove_file(&staged)
            .and_then(|()| std::os::unix::fs::symlink(original, &staged))
            .map_err(Error::write(&staged))?;
        changed.extend(original.parent().map(Path::to_path_buf));
    }
    // A directory whose time differs from the recorded one is not listed from the stage.
    for directory in changed {
        let Some(entry) = index.lookup(directory.as_os_str().as_bytes()) else { continue };
        let time = entry.stat().mtime;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: time.sec, tv_nsec: time.nsec.into() },
        };
        let staged = below(&root, &directory);
        utimensat(CWD, &staged, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| Error::write(&staged)(e.into()))?;
    }
    Ok(())
}

/// Whether a file can neither be read nor executed. The staged copy of a program that can be executed alone is started.
fn is_refused(entry: &Entry<'_>) -> bool {
    let refused = entry.barriers().refused;
    entry.kind() == Kind::File
        && !entry.is_remote()
        && (refused & WAY != 0 || refused & READ != 0 && entry.stat().mode & 0o111 == 0)
}
