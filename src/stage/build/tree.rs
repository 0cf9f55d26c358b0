//! Writes the parts of a staged tree that are not file data. Directories are created at the beginning. Symbolic links,
//! hard links, search paths in libraries and times of directories depend on all bundles of the stage, so they are
//! written at the end.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Component, Path, PathBuf};

use pyshm_format::layout;
use rustix::fs::{AtFlags, CWD};

use crate::error::{Error, Result};
use crate::manifest::entry::{EntryKind, EntryRecord, PATH_MAX};
use crate::manifest::prefix::Mode;
use crate::manifest::{Manifest, Stack};
use crate::program::run_path;
use crate::program::run_path::Edit;
use crate::stage::build::files::Files;
use crate::stage::staged_file::{LastDirectory, below, file_times, staged_mode, times};

/// Creates the directories of a manifest below `root`, and those above its prefixes.
///
/// # Errors
/// [`Error::CannotWrite`] names the directory.
pub(super) fn make_directories(manifest: &Manifest, root: &Path) -> Result<()> {
    for prefix in &manifest.prefixes {
        let above = below(root, prefix.path().parent().unwrap_or(Path::new("/")));
        std::fs::create_dir_all(&above).map_err(Error::write(&above))?;
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700);
    for entry in manifest.entries.iter().filter(|e| e.kind == EntryKind::Directory) {
        let path = below(root, entry.path());
        match builder.create(&path) {
            // The directory comes from an earlier bundle, or lies above a prefix of this one. Anything else with the
            // name was removed before.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_directory(&path) => {}
            made => made.map_err(Error::write(&path))?,
        }
    }
    Ok(())
}

/// Removes everything below the manifest's prefixes. No other bundle of the stage may have files there.
pub(super) fn remove(manifest: &Manifest, root: &Path) {
    for prefix in &manifest.prefixes {
        let _ = std::fs::remove_dir_all(below(root, prefix.path()));
    }
}

fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.is_dir())
}

/// Checks that a path of a bundle is not too long when it lies in the stage.
///
/// # Errors
/// [`Error::BadBundle`].
pub(super) fn refuse_long(bundle: &Path, root: &Path, path: &Path) -> Result<()> {
    let most = PATH_MAX - 1 - root.as_os_str().len();
    if path.as_os_str().len() <= most {
        return Ok(());
    }
    let shown = crate::text::shown(path.as_os_str().as_bytes());
    Err(Error::bundle(
        bundle,
        format!(
            "its path {shown} is longer than the {most} bytes that a path in a stage may have: shorten it"
        ),
    ))
}

/// Creates the files that have no data in the stream: empty files, and placeholders for files that are not in the
/// bundle.
///
/// # Errors
/// [`Error::CannotWrite`] names the file.
pub(super) fn make_empty_files(manifest: &Manifest, files: &Files<'_>) -> Result<()> {
    let mut last = LastDirectory::default();
    for entry in &manifest.entries {
        let empty = match entry.kind {
            EntryKind::File { .. } => entry.stat.size == 0,
            EntryKind::Remote | EntryKind::Other => true,
            _ => false,
        };
        if empty {
            let made = files
                .create(entry, &mut last)
                .and_then(|f| Ok(rustix::fs::futimens(&f, &file_times(entry))?));
            made.map_err(Error::write(entry.path()))?;
        }
    }
    Ok(())
}

/// Paths of entries that have an edited copy under `fs/` and the pristine file under `orig/`.
pub(super) type Edited = HashSet<Vec<u8>>;

/// Finishes the tree of all bundles in the stage that is being built in `dir`. Returns the paths of the edited
/// libraries.
///
/// # Errors
/// [`Error::CannotWrite`] names what cannot be written.
pub(super) fn finish(stack: &Stack, dir: &Path) -> Result<Edited> {
    let manifests = stack.bundles();
    let tree = Tree { stack, fs: dir.join(layout::FS), orig: dir.join(layout::ORIG) };
    let mut edited = Edited::new();
    for manifest in manifests {
        // In the manifest, a hard link comes after the file to which it leads.
        for entry in &manifest.entries {
            match &entry.kind {
                EntryKind::Symlink(target) => tree.link(entry, target)?,
                EntryKind::File { runpath: Some(_), .. } => tree.edit(entry, entry, &mut edited)?,
                EntryKind::HardLink(to) => {
                    tree.hard_link(entry, &manifest.entries[*to as usize], &mut edited)?
                }
                _ => {}
            }
        }
    }
    // This comes after the creation of all files, since creating a file changes the times of its directory. A directory
    // comes after the directories in it.
    for entry in manifests
        .iter()
        .flat_map(|m| m.entries.iter().rev())
        .filter(|e| e.kind == EntryKind::Directory)
    {
        let path = below(&tree.fs, entry.path());
        // The owner gets all permissions, so that the stage can be removed.
        let mode = rustix::fs::Mode::from_raw_mode((entry.stat.mode & 0o777) | 0o700);
        let done = rustix::fs::chmod(&path, mode).and_then(|()| {
            rustix::fs::utimensat(CWD, &path, &times(&entry.stat), AtFlags::empty())
        });
        done.map_err(|e| Error::write(&path)(e.into()))?;
    }
    Ok(edited)
}

struct Tree<'a> {
    stack: &'a Stack,
    fs: PathBuf,
    orig: PathBuf,
}

impl Tree<'_> {
    /// Returns `path` with the real spelling of its prefix; `None` if it lies below no prefix.
    fn staged(&self, path: &Path) -> Option<PathBuf> {
        for prefix in self.stack.prefixes() {
            for spelling in prefix.spellings() {
                if let Ok(rest) = path.strip_prefix(spelling) {
                    return Some(prefix.path().join(rest));
                }
            }
        }
        None
    }

    /// Returns the directory `path` of a library's search path with the real spelling of its prefix. `None` if the
    /// directory lies below no prefix, or if the stage may not know all names in the directory.
    fn staged_directory(&self, path: &Path) -> Option<PathBuf> {
        let staged =
            self.staged(path).filter(|p| p.components().all(|c| c != Component::ParentDir))?;
        let prefix = self.stack.prefix_of(staged.as_os_str().as_bytes())?;
        let snapshot = prefix.mode == Mode::Snapshot;
        let known = || self.stack.entries().any(|(_, e)| e.path() == staged);
        (snapshot || known()).then_some(staged)
    }

    /// Creates a symbolic link. An absolute target under a prefix is replaced by a relative one that leads into the
    /// staged tree.
    fn link(&self, entry: &EntryRecord, target: &[u8]) -> Result<()> {
        let target = Path::new(OsStr::from_bytes(target));
        let parent = entry.path().parent().unwrap_or(Path::new("/"));
        let text = if target.is_absolute() {
            self.staged(target)
                .map_or_else(|| target.to_path_buf(), |staged| relative(parent, &staged))
        } else {
            // A link that leaves the prefixes gets an absolute target, because the stage has nothing outside the
            // prefixes.
            let led = resolve_leading_dots(parent, target);
            if self.staged(&led).is_some() { target.to_path_buf() } else { led }
        };
        let path = below(&self.fs, entry.path());
        let made = rustix::fs::symlink(&text, &path).and_then(|()| {
            rustix::fs::utimensat(CWD, &path, &times(&entry.stat), AtFlags::SYMLINK_NOFOLLOW)
        });
        made.map_err(|e| Error::write(&path)(e.into()))
    }

    /// If the search path of the library `entry` leads to staged directories, replaces the staged file by a copy whose
    /// search path leads into the stage, and adds the entry's path to `edited`. `source` is the entry itself, or the
    /// file to which the entry is a hard link.
    fn edit(&self, entry: &EntryRecord, source: &EntryRecord, edited: &mut Edited) -> Result<()> {
        let staged = below(&self.fs, entry.path());
        let failed = |cause| Error::CannotWrite { path: staged.clone(), cause };
        let from = if edited.contains(source.path.as_slice()) { &self.orig } else { &self.fs };
        let file = File::open(below(from, source.path())).map_err(failed)?;
        let origin = entry.path().parent().unwrap_or(Path::new("/"));
        let Some(edit) = run_path::relocate(&file, origin, |path| self.staged_directory(path))
        else {
            return Ok(());
        };
        let pristine = below(&self.orig, entry.path());
        let replace = || -> io::Result<()> {
            std::fs::create_dir_all(pristine.parent().unwrap_or(Path::new("/")))?;
            std::fs::rename(&staged, &pristine)?;
            let file = match &edit {
                Edit::InPlace(at, bytes) => {
                    // `fs::copy` is not used, because it copies the mode too, and a copy of a read-only file could not
                    // be written to.
                    let mut file = File::create_new(&staged)?;
                    io::copy(&mut File::open(&pristine)?, &mut file)?;
                    file.write_all_at(bytes, *at)?;
                    file
                }
                Edit::Whole(bytes) => {
                    let file = File::create_new(&staged)?;
                    file.write_all_at(bytes, 0)?;
                    file
                }
            };
            rustix::fs::fchmod(&file, staged_mode(&entry.stat))?;
            Ok(rustix::fs::futimens(&file, &file_times(entry))?)
        };
        replace().map_err(failed)?;
        edited.insert(entry.path.to_vec());
        Ok(())
    }

    /// Creates `entry`, a hard link to the file `to`. If the file is a library with a search path, `entry` becomes a
    /// copy that is edited for its own directory.
    fn hard_link(&self, entry: &EntryRecord, to: &EntryRecord, edited: &mut Edited) -> Result<()> {
        let staged = below(&self.fs, entry.path());
        // The link leads to the pristine file, since an edited copy is right for one directory only.
        let root = if edited.contains(to.path.as_slice()) { &self.orig } else { &self.fs };
        std::fs::hard_link(below(root, to.path()), &staged).map_err(Error::write(&staged))?;
        match to.kind {
            EntryKind::File { runpath: Some(_), .. } => self.edit(entry, to, edited),
            _ => Ok(()),
        }
    }
}

/// Returns the path to which the relative `target` of a link leads from the directory `from`, whose path has no
/// symbolic links. Resolves each `..` at the beginning of the target. A later `..` stays, because the name before it
/// may be a symbolic link.
fn resolve_leading_dots(from: &Path, target: &Path) -> PathBuf {
    let mut led = from.to_path_buf();
    let mut parts = target.components().peekable();
    while let Some(part) = parts.next_if(|c| matches!(c, Component::ParentDir | Component::CurDir))
    {
        if part == Component::ParentDir {
            led.pop();
        }
    }
    led.extend(parts);
    led
}

/// Returns the relative path from the directory `from` to `to`. Both are absolute.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to): (Vec<Component>, Vec<Component>) =
        (from.components().collect(), to.components().collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(Component::ParentDir, from.len() - common);
    let path: PathBuf = up.chain(to[common..].iter().copied()).collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leading_dots_of_a_relative_target_are_resolved() {
        let case = |from: &str, to: &str| {
            resolve_leading_dots(Path::new(from), Path::new(to)).display().to_string()
        };
        assert_eq!(case("/opt/env/lib", "../../base/lib/x"), "/opt/base/lib/x");
        assert_eq!(case("/opt/env/lib", "x/../y"), "/opt/env/lib/x/../y");
        assert_eq!(case("/opt/env/lib", "./x"), "/opt/env/lib/x");
    }

    #[test]
    fn an_absolute_link_becomes_relative_to_its_directory() {
        let case =
            |from: &str, to: &str| relative(Path::new(from), Path::new(to)).display().to_string();
        assert_eq!(case("/a/venv/bin", "/a/base/bin/python3"), "../../base/bin/python3");
        assert_eq!(case("/a/lib", "/a/lib/x"), "x");
        assert_eq!(case("/a/lib", "/a/lib"), ".");
    }
}
