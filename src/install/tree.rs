//! Writes the files of an installation.
//!
//! Invariants: an existing file is replaced and never written into, because it may be a running program, or a library
//! that a job has mapped.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::Builder;

use crate::error::{Error, Result};

/// The directory of an installation: its prefix, below `DESTDIR` where there is one.
#[derive(Debug)]
pub(super) struct InstallTree {
    dir: PathBuf,
}

impl InstallTree {
    /// The tree of `prefix`, an absolute path, below `destdir`.
    ///
    /// # Errors
    /// [`Error::Usage`] when `destdir` cannot be a path.
    pub(super) fn new(prefix: &Path, destdir: Option<&Path>) -> Result<Self> {
        let Some(destdir) = destdir else { return Ok(Self { dir: prefix.to_path_buf() }) };
        let below = prefix.strip_prefix("/").unwrap_or(prefix);
        let destdir = std::path::absolute(destdir).map_err(|e| {
            Error::Usage(format!("failed to use '{}' as DESTDIR: {e}", destdir.display()))
        })?;
        Ok(Self { dir: destdir.join(below) })
    }

    /// Writes the file `path`, relative to the prefix, with these bytes and this mode, whatever the umask is.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] with its path.
    pub(super) fn file(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.in_directory(path)?;
        let directory = path.parent().unwrap_or(&path);
        let failed = || Error::write(&path);
        let mut file = Builder::new()
            .prefix(&temporary_start(&path))
            .tempfile_in(directory)
            .map_err(failed())?;
        file.write_all(bytes).map_err(failed())?;
        file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed())?;
        file.persist(&path).map_err(|e| failed()(e.error))?;
        Ok(())
    }

    /// Makes `path`, relative to the prefix, a symbolic link to `to`.
    ///
    /// # Errors
    /// As [`InstallTree::file`].
    pub(super) fn link(&self, path: &Path, to: &Path) -> Result<()> {
        let path = self.in_directory(path)?;
        let directory = path.parent().unwrap_or(&path);
        let link = Builder::new()
            .prefix(&temporary_start(&path))
            .make_in(directory, |name| symlink(to, name))
            .map_err(Error::write(&path))?;
        // The rename replaces a link at this path, not the file to which that link leads.
        link.into_temp_path().persist(&path).map_err(|e| Error::write(&path)(e.error))
    }

    /// Makes the directories above `path`, which is relative to the prefix, and returns the full path.
    fn in_directory(&self, path: &Path) -> Result<PathBuf> {
        let path = self.dir.join(path);
        let missing =
            |dir: &&Path| fs::metadata(dir).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        let mut missing: Vec<&Path> = path.ancestors().skip(1).take_while(missing).collect();
        missing.reverse();
        for dir in missing {
            match fs::create_dir(dir) {
                // Another installation has made the directory meanwhile.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::write(dir)(e)),
                Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o755))
                    .map_err(Error::write(dir))?,
            }
        }
        Ok(path)
    }
}

/// Returns the beginning of a file's temporary name.
fn temporary_start(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn an_existing_file_is_replaced_and_never_written_into() {
        let dir = tempfile::tempdir().unwrap();
        let tree = InstallTree::new(Path::new("/opt/x"), Some(dir.path())).unwrap();
        let path = Path::new("bin/a");
        tree.file(path, b"old", 0o755).unwrap();
        let at = dir.path().join("opt/x/bin/a");
        let kept = dir.path().join("kept");
        fs::hard_link(&at, &kept).unwrap();
        tree.file(path, b"new", 0o644).unwrap();
        assert_eq!(
            (fs::read(&kept).unwrap(), fs::read(&at).unwrap()),
            (b"old".to_vec(), b"new".to_vec())
        );
        assert_eq!(fs::metadata(&at).unwrap().mode() & 0o7777, 0o644);
        // A link replaces a file, and a file replaces a link.
        tree.link(path, Path::new("b")).unwrap();
        tree.link(path, Path::new("c")).unwrap();
        assert_eq!(fs::read_link(&at).unwrap(), Path::new("c"));
        tree.file(path, b"file", 0o644).unwrap();
        assert!(fs::symlink_metadata(&at).unwrap().is_file());
        assert_eq!(fs::read_dir(at.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_in_place_of_a_file_is_reported_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let tree = InstallTree::new(dir.path(), None).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        let said = tree.file(Path::new("bin"), b"", 0o644).unwrap_err().to_string();
        assert!(said.contains(&dir.path().join("bin").display().to_string()), "{said}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
