//! Makes the view of the tree that was bundled, as this node's mount shows it.
#![forbid(unsafe_code)]

use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::Result;
use crate::manifest::prefix::PrefixRecord;
use crate::manifest::walk;
use crate::progress::Progress;
use crate::verify::digests;
use crate::verify::view::{Facts, FileContent, PathType, View};

/// Returns the view of everything at and below `prefixes`.
///
/// # Errors
/// [`crate::error::Error::NoInput`] when a directory cannot be read.
pub fn of_source(prefixes: &[PrefixRecord], progress: Progress) -> Result<View> {
    let mut view = View { name: "source", prefixes: prefixes.to_vec(), ..View::default() };
    let (mut files, mut bytes) = (Vec::new(), 0);
    // The walk of an outer prefix also covers the prefixes inside it.
    let inner = |p: &&PrefixRecord| {
        prefixes.iter().any(|o| o.path != p.path && p.path().starts_with(o.path()))
    };
    let outer = prefixes.iter().filter(|p| !inner(p));
    for found in outer.flat_map(|p| walk::walk(p.path())) {
        let found = found?;
        let mut facts = Facts {
            kind: PathType::Other,
            mode: found.stat.mode & 0o7777,
            owner: (found.stat.uid, found.stat.gid),
            size: found.stat.size,
            mtime: Some(found.stat.mtime),
            target: Vec::new(),
            content: FileContent::Elsewhere,
        };
        if found.kind.is_dir() {
            facts.kind = PathType::Directory;
        } else if found.kind.is_symlink() {
            facts.kind = PathType::Symlink;
            let target = std::fs::read_link(&found.path);
            facts.target = target.map(|t| t.into_os_string().into_vec()).unwrap_or_default();
        } else if found.kind.is_file() {
            facts.kind = PathType::File;
            bytes += found.stat.size;
            files.push(found.path.clone());
        }
        view.paths.insert(found.path.into_os_string().into_vec(), facts);
    }
    let bar = progress.byte_bar("reading the source", bytes);
    for (path, content) in files.iter().zip(digests::of_files(&files, &bar)) {
        if let Some(facts) = view.paths.get_mut(path.as_os_str().as_bytes()) {
            facts.content = content;
        }
    }
    bar.finish_and_clear();
    Ok(view)
}
