//! Makes the view of a stage from its index and the data of its files.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use pyshm_format::Entry;
use pyshm_format::index::{Index, Prefix};
use pyshm_format::{Kind, PrefixMode, layout};
use serde_bytes::ByteBuf;

use crate::error::{Error, Result, one_line};
use crate::manifest::prefix::{Mode, PrefixRecord};
use crate::progress::Progress;
use crate::verify::digests;
use crate::verify::view::{Facts, FileContent, PathType, View};

/// Returns the view of the stage in `dir`.
///
/// # Errors
/// [`Error::NoInput`] when the stage has no readable index.
pub fn of_stage(dir: &Path, progress: Progress) -> Result<View> {
    let path = dir.join(layout::INDEX);
    let bytes = std::fs::read(&path).map_err(Error::read("stage", &path))?;
    let unknown = |_| std::io::Error::other("it is not an index of this version");
    let index = Index::parse(&bytes).map_err(unknown).map_err(Error::read("stage", &path))?;
    let mut view = View { name: "stage", prefixes: prefixes_of(&index), ..View::default() };
    let mut files = Vec::new();
    for entry in (0..index.len()).filter_map(|n| index.entry(n)) {
        let mut facts = facts_of(&entry);
        let staged = staged_path(dir, &index, entry.staged());
        if let Some(damage) = type_problem(&staged, facts.kind) {
            facts.content = FileContent::Damaged(damage);
        } else if facts.kind == PathType::File && !entry.is_remote() {
            files.push((entry.path().to_vec(), staged_path(dir, &index, entry.pristine())));
        }
        view.paths.insert(entry.path().to_vec(), facts);
    }
    read_files(&mut view, files, progress);
    view.strays = strays(&dir.join(layout::FS), &view);
    Ok(view)
}

fn prefixes_of(index: &Index<'_>) -> Vec<PrefixRecord> {
    let record = |prefix: Prefix<'_>| {
        let mode = match prefix.mode {
            PrefixMode::Snapshot => Mode::Snapshot,
            PrefixMode::Overlay => Mode::Overlay,
        };
        PrefixRecord { path: ByteBuf::from(prefix.path), aliases: Vec::new(), mode }
    };
    index.prefixes().filter(|p| p.path == p.canonical).map(record).collect()
}

fn facts_of(entry: &Entry<'_>) -> Facts {
    let stat = entry.stat();
    Facts {
        kind: match entry.kind() {
            Kind::Directory => PathType::Directory,
            Kind::File => PathType::File,
            Kind::Symlink => PathType::Symlink,
            _ => PathType::Other,
        },
        mode: stat.mode & 0o7777,
        owner: (stat.uid, stat.gid),
        size: stat.size,
        mtime: Some((stat.mtime.sec, stat.mtime.nsec)),
        target: entry.target().to_vec(),
        content: FileContent::Elsewhere,
    }
}

/// Returns the path of a staged file in `dir`. The stage may have been moved, so only the part of `staged` below the
/// stage's directory counts.
fn staged_path(dir: &Path, index: &Index<'_>, staged: &[u8]) -> PathBuf {
    let below = staged.strip_prefix(index.stage()).unwrap_or(staged);
    dir.join(OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(below)))
}

/// Returns why the file `staged` does not have the type `kind`, which the index records; `None` if it has this type.
fn type_problem(staged: &Path, kind: PathType) -> Option<String> {
    let is = staged.symlink_metadata();
    let is_right = is.as_ref().is_ok_and(|m| match kind {
        PathType::Directory => m.is_dir(),
        PathType::Symlink => m.is_symlink(),
        PathType::File | PathType::Other => m.is_file(),
    });
    if is_right {
        return None;
    }
    let why = is.map_or_else(one_line, |m| format!("{:?}", m.file_type()));
    Some(format!("the index has it, but {} is: {why}", staged.display()))
}

/// Reads the data of `files`, each given by its original and its staged path.
fn read_files(view: &mut View, files: Vec<(Vec<u8>, PathBuf)>, progress: Progress) {
    let (names, paths): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    let total = names.iter().filter_map(|name| view.paths.get(name)).map(|facts| facts.size).sum();
    let bar = progress.byte_bar("reading the stage", total);
    let contents = digests::of_files(&paths, &bar);
    bar.finish_and_clear();
    for ((name, path), content) in names.iter().zip(&paths).zip(contents) {
        let Some(facts) = view.paths.get_mut(name) else { continue };
        let size = path.metadata().map_or(0, |m| m.len());
        facts.content = if facts.size != size && matches!(content, FileContent::Digest(_)) {
            FileContent::Damaged(format!("it has {size} bytes, {} in the index", facts.size))
        } else {
            content
        };
    }
}

/// Lists the paths under `fs/` that are neither entries nor directories above a prefix.
fn strays(fs: &Path, view: &View) -> Vec<Vec<u8>> {
    let original = |path: &Path| -> Vec<u8> {
        let below = path.strip_prefix(fs).unwrap_or(path);
        Path::new("/").join(below).into_os_string().into_vec()
    };
    let above = |path: &[u8]| {
        let path = Path::new(OsStr::from_bytes(path));
        view.prefixes.iter().any(|p| p.path().starts_with(path))
    };
    walkdir::WalkDir::new(fs)
        .min_depth(1)
        .into_iter()
        .flatten()
        .map(|found| original(found.path()))
        .filter(|path| !view.paths.contains_key(path) && !above(path))
        .collect()
}
