//! A stage: what its index says, with the data that its files hold.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use pyshm_format::index::Index;
use pyshm_format::{Kind, PrefixMode, layout};
use serde_bytes::ByteBuf;

use crate::error::{Error, Result};
use crate::manifest::prefix::{Mode, PrefixRecord};
use crate::progress;
use crate::verify::{Content, Facts, Type, View, digests};

/// The stage in `dir`.
///
/// # Errors
/// [`Error::NoInput`] when it has no readable index.
pub fn of_stage(dir: &Path, quiet: bool) -> Result<View> {
    let path = dir.join(layout::INDEX);
    let bytes = std::fs::read(&path).map_err(Error::read("stage", &path))?;
    let unknown = |_| std::io::Error::other("it is no index of this version");
    let index = Index::parse(&bytes).map_err(unknown).map_err(Error::read("stage", &path))?;
    let mut view = View { name: "stage", ..View::default() };
    for prefix in index.prefixes().filter(|p| p.path == p.canonical) {
        let mode = match prefix.mode {
            PrefixMode::Snapshot => Mode::Snapshot,
            PrefixMode::Overlay => Mode::Overlay,
        };
        let path = ByteBuf::from(prefix.path);
        view.prefixes.push(PrefixRecord { path, aliases: Vec::new(), mode });
    }
    // A stage that was moved is still one: only what is below it counts.
    let here = |staged: &[u8]| -> PathBuf {
        let below = staged.strip_prefix(index.stage()).unwrap_or(staged);
        dir.join(OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(below)))
    };
    let (mut files, mut total) = (Vec::new(), 0);
    for entry in (0..index.len()).filter_map(|n| index.entry(n)) {
        let stat = entry.stat();
        let mut facts = Facts {
            kind: match entry.kind() {
                Kind::Directory => Type::Directory,
                Kind::File => Type::File,
                Kind::Symlink => Type::Symlink,
                _ => Type::Other,
            },
            mode: stat.mode & 0o7777,
            owner: (stat.uid, stat.gid),
            size: stat.size,
            mtime: Some((stat.mtime.sec, stat.mtime.nsec)),
            target: entry.target().to_vec(),
            content: Content::Elsewhere,
        };
        let staged = here(entry.staged());
        let is = staged.symlink_metadata();
        let right = is.as_ref().is_ok_and(|m| match facts.kind {
            Type::Directory => m.is_dir(),
            Type::Symlink => m.is_symlink(),
            Type::File | Type::Other => m.is_file(),
        });
        if !right {
            let why = is.map_or_else(|e| e.to_string(), |m| format!("{:?}", m.file_type()));
            facts.content =
                Content::Damaged(format!("the index has it, but {} is: {why}", staged.display()));
        } else if facts.kind == Type::File && !entry.is_remote() {
            total += stat.size;
            files.push((entry.path().to_vec(), here(entry.pristine())));
        }
        view.paths.insert(entry.path().to_vec(), facts);
    }
    let bar = progress::byte_bar_unless(quiet, "reading the stage", total);
    let (names, paths): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    for (name, content) in names.iter().zip(digests::of_files(&paths, &bar)) {
        if let Some(facts) = view.paths.get_mut(name) {
            facts.content = content;
        }
    }
    bar.finish_and_clear();
    for (name, path) in names.iter().zip(&paths) {
        let size = path.metadata().map_or(0, |m| m.len());
        match view.paths.get_mut(name) {
            Some(facts) if facts.size != size && matches!(facts.content, Content::Digest(_)) => {
                facts.content =
                    Content::Damaged(format!("it has {size} bytes, {} in the index", facts.size));
            }
            _ => {}
        }
    }
    view.strays = strays(&dir.join(layout::FS), &view);
    Ok(view)
}

/// What lies under `fs/` and is neither an entry nor above one.
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
