//! Replaces the staged files that the user who stages may not read by links to their originals.
//!
//! The shim leaves such files to the kernel. The loader, which follows search paths into the stage, does not ask the shim;
//! by the link the kernel refuses the original to it too.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pyshm_format::barrier::{READ, WAY};
use pyshm_format::{Entry, Index, Kind, layout};

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
    for entry in entries.filter(is_refused) {
        let original = Path::new(OsStr::from_bytes(entry.path()));
        let staged = below(&root, original);
        std::fs::remove_file(&staged)
            .and_then(|()| std::os::unix::fs::symlink(original, &staged))
            .map_err(Error::write(&staged))?;
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
