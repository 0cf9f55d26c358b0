//! Lays one bundle over others in a stage that is being built. The files that the new bundle replaces or removes are
//! deleted before the files of the new bundle are written, so that a node never needs space for both.
//!
//! Invariants:
//! - Bundles are laid over others before any symbolic link is created below `<stage>/fs`, so that no path leads out of
//!   `<stage>/fs`.
//! - A file that was taken from a donor is not changed, because the donor has it too.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD};

use crate::error::{Error, Result};
use crate::instrument::timeline;
use crate::instrument::timeline::Phase;
use crate::manifest::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::stack::StackChange;
use crate::stage::staged_file::{FileMaker, LastDirectory, below, file_times, open, staged_mode};

/// Deletes the paths in `fs` that `new` replaces or removes, and sets the new attributes of files that stay.
///
/// # Errors
/// [`Error::CannotWrite`] names the file.
pub(super) fn make_way(plan: &StackChange, new: &Manifest, fs: &Path) -> Result<()> {
    if plan.links.is_empty() && plan.remove.is_empty() && plan.kept.is_empty() {
        return Ok(());
    }
    let _busy = timeline::busy(Phase::Write);
    for (file, name) in &plan.links {
        let name = below(fs, name);
        std::fs::hard_link(below(fs, file), &name).map_err(Error::write(&name))?;
    }
    for path in &plan.remove {
        let path = below(fs, path);
        let removed = match path.symlink_metadata() {
            Ok(m) if m.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(e) => Err(e),
        };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::write(&path)(e)),
            _ => {}
        }
    }
    let maker = FileMaker::new(fs.to_path_buf());
    let kept = plan.kept.iter().filter_map(|number| new.entries.get(*number));
    for entry in kept.chain(&plan.renamed) {
        retouch(entry, &maker).map_err(Error::write(entry.path()))?;
    }
    Ok(())
}

/// Bytes of the files that [`make_way`] has to copy because a donor has them too.
pub(super) fn copied_bytes(plan: &StackChange, new: &Manifest, fs: &Path) -> u64 {
    let kept = plan.kept.iter().filter_map(|number| new.entries.get(*number));
    let size = |entry: &EntryRecord| {
        let is = below(fs, entry.path()).symlink_metadata();
        is.map_or(0, |m| if m.nlink() > 1 { m.size().next_multiple_of(4096) } else { 0 })
    };
    kept.map(size).sum()
}

/// Sets the new attributes of a file that stays. If the file has other names, it is copied to a new inode first: the
/// other names belong to a donor, or become separate files.
fn retouch(entry: &EntryRecord, maker: &FileMaker) -> io::Result<()> {
    let path = below(maker.root(), entry.path());
    if path.symlink_metadata()?.nlink() > 1 {
        let mut from = open(CWD, path.as_os_str())?;
        std::fs::remove_file(&path)?;
        let mut file = maker.create(entry, &mut LastDirectory::default())?;
        io::copy(&mut from, &mut file)?;
        return Ok(rustix::fs::futimens(&file, &file_times(entry))?);
    }
    rustix::fs::chmod(&path, staged_mode(&entry.stat))?;
    Ok(rustix::fs::utimensat(CWD, &path, &file_times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Moves the files of `new` from the directory `from` to `fs`, where their directories exist. The files were unpacked
/// into `from` before it was known which files they replace.
///
/// # Errors
/// [`Error::CannotWrite`] names the file.
pub(super) fn move_in(new: &Manifest, from: &Path, fs: &Path) -> Result<()> {
    let _busy = timeline::busy(Phase::Write);
    for entry in new.entries.iter().filter(|e| matches!(e.kind, EntryKind::File { .. })) {
        let to = below(fs, entry.path());
        std::fs::rename(below(from, entry.path()), &to).map_err(Error::write(&to))?;
    }
    std::fs::remove_dir_all(from).map_err(Error::write(from))
}
