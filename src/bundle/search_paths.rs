//! Finds which search paths of ELF files a manifest records.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde_bytes::ByteBuf;

use crate::manifest::prefix::{PrefixRecord, depth};
use crate::program::run_path;

/// The prefixes of a bundle, and what is known of the directories that search paths name.
pub(super) struct SearchPaths<'a> {
    prefixes: &'a [PrefixRecord],
    /// Directories that lead from outside into a prefix, and others: each is looked at once.
    known: HashMap<PathBuf, Option<PathBuf>>,
}

impl<'a> SearchPaths<'a> {
    /// Search paths of files under `prefixes`.
    pub(super) fn new(prefixes: &'a [PrefixRecord]) -> Self {
        Self { prefixes, known: HashMap::new() }
    }

    /// What the manifest records of the file at `path`.
    pub(super) fn of(&mut self, file: &File, path: &Path) -> Option<ByteBuf> {
        let depth = depth(self.prefixes, path);
        run_path::recorded(file, depth, |element| self.inside(element)).map(ByteBuf::from)
    }

    /// The directory under a prefix to which a name leads that does not begin with a spelling of the prefix.
    fn inside(&mut self, element: &Path) -> Option<PathBuf> {
        let mut spellings = self.prefixes.iter().flat_map(PrefixRecord::spellings);
        if spellings.any(|spelling| element.starts_with(spelling)) {
            return None;
        }
        if let Some(known) = self.known.get(element) {
            return known.clone();
        }
        let is_inside = |path: &PathBuf| self.prefixes.iter().any(|p| path.starts_with(p.path()));
        let inside = run_path::resolve(element).filter(is_inside);
        self.known.insert(element.to_path_buf(), inside.clone());
        inside
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::manifest::prefix::{Mode, bytes_of};

    #[test]
    fn a_directory_is_resolved_if_it_leads_from_outside_into_a_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("env/lib")).unwrap();
        symlink(top.join("env"), top.join("link")).unwrap();
        let path = bytes_of(&top.join("env"));
        let prefixes = [PrefixRecord { path, aliases: Vec::new(), mode: Mode::Snapshot }];
        let mut paths = SearchPaths::new(&prefixes);
        let mut inside = |name: &str| paths.inside(&top.join(name));
        assert_eq!(inside("env/lib"), None);
        assert_eq!(inside("link/lib"), Some(top.join("env/lib")));
        assert_eq!(inside("link/none/$LIB"), Some(top.join("env/none/$LIB")));
        assert_eq!(inside("link/../env/lib"), Some(top.join("env/lib")));
        assert_eq!(inside("elsewhere"), None);
        assert_eq!(depth(&prefixes, &top.join("env/lib/x/y.so")), 2);
    }
}
