//! Lists the objects of a tree: files, directories, links, and the groups of names that are one file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The objects that a tree has now, by their paths below its root.
pub struct World {
    pub(super) root: PathBuf,
    pub(super) files: Vec<PathBuf>,
    pub(super) dirs: Vec<PathBuf>,
    pub(super) links: Vec<PathBuf>,
    pub(super) fifos: Vec<PathBuf>,
    /// All names of each file that has several.
    pub(super) namesakes: Vec<Vec<PathBuf>>,
    /// Symbolic links to directories of the tree: the link, and the directory.
    pub(super) ways: Vec<(PathBuf, PathBuf)>,
}

impl World {
    /// Walks the tree at `root`.
    pub fn see(root: &Path) -> Self {
        let mut world = Self {
            root: root.to_path_buf(),
            files: Vec::new(),
            dirs: Vec::new(),
            links: Vec::new(),
            fifos: Vec::new(),
            namesakes: Vec::new(),
            ways: Vec::new(),
        };
        let mut several = BTreeMap::<u64, Vec<PathBuf>>::new();
        let device = fs::metadata(root).map(|m| m.dev()).unwrap_or(0);
        for entry in
            walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().flatten()
        {
            let Ok(m) = fs::symlink_metadata(entry.path()) else { continue };
            let name = entry.path().strip_prefix(root).unwrap().to_path_buf();
            if m.dev() != device || name.starts_with("bind") || name.starts_with("bind-d") {
                continue;
            }
            if m.nlink() > 1 && !m.is_dir() {
                several.entry(m.ino()).or_default().push(name.clone());
            }
            if m.is_symlink() {
                if let Ok(target) = fs::canonicalize(entry.path())
                    && let Ok(target) = target.strip_prefix(root)
                    && target != Path::new("")
                    && fs::metadata(entry.path()).is_ok_and(|m| m.is_dir())
                {
                    world.ways.push((name.clone(), target.to_path_buf()));
                }
                world.links.push(name);
            } else if m.is_dir() {
                world.dirs.push(name);
            } else if m.file_type().is_fifo() {
                world.fifos.push(name);
            } else {
                world.files.push(name);
            }
        }
        world.namesakes = several.into_values().collect();
        for (mount, of) in [("bind", "p/env"), ("bind-d", "p/env/d")] {
            if fs::read_dir(root.join(mount)).is_ok_and(|mut entries| entries.next().is_some()) {
                world.ways.push((mount.into(), of.into()));
            }
        }
        world
    }
}
