//! Checks the rules that make a manifest safe to use; `parse` refuses a manifest that breaks one.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

use crate::manifest::document::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord, PATH_MAX, check_path};
use crate::manifest::error::{EntryProblem, ManifestError};
use crate::manifest::frame::{MAX_PACKED, MAX_RAW};
use crate::manifest::layer::Layer;
use crate::manifest::prefix::at_or_below;

type Result<T> = std::result::Result<T, ManifestError>;

impl Manifest {
    /// Checks frames, and where the data of each file lies in the stream.
    pub(super) fn check_data(&self) -> Result<()> {
        let too_large = |raw: usize, packed: usize| raw > MAX_RAW || packed > MAX_PACKED;
        let mut frames = self.frames.iter();
        if let Some(frame) = frames.find(|f| too_large(f.raw as usize, f.packed as usize)) {
            return Err(ManifestError::LargeFrame(frame.raw));
        }
        let raw: u64 = self.frames.iter().map(|f| u64::from(f.raw)).sum();
        let mut end_of_last = 0;
        for entry in &self.entries {
            let EntryKind::File { offset, .. } = entry.kind else { continue };
            let end = offset.checked_add(entry.stat.size).filter(|end| *end <= raw);
            match end {
                // The data of the files must be in the order of the entries and must not overlap. Otherwise the same
                // bytes of a frame could be written into several files.
                Some(end) if offset >= end_of_last => end_of_last = end,
                _ => return Err(ManifestError::entry(&entry.path, EntryProblem::DataOutside)),
            }
        }
        Ok(())
    }

    /// Checks prefixes, paths, links, extended attributes, and the record of a layer.
    pub(crate) fn check_tree(&self) -> Result<()> {
        if self.xattrs.as_ref().is_some_and(|xattrs| !xattrs.are_possible(self.entries.len())) {
            return Err(ManifestError::Xattrs);
        }
        if let Some(layer) = &self.layer {
            self.check_layer(layer)?;
        }
        self.check_prefixes()?;
        let mut directories: HashMap<&[u8], bool> = HashMap::with_capacity(self.entries.len());
        for (number, entry) in self.entries.iter().enumerate() {
            let problem = |problem| Err(ManifestError::entry(&entry.path, problem));
            check_path(&entry.path).map_err(|e| ManifestError::entry(&entry.path, e))?;
            let is_prefix = self.prefixes.iter().any(|p| p.path == entry.path);
            let parent = entry.path().parent().map_or(&[][..], |p| p.as_os_str().as_bytes());
            if !is_prefix && directories.get(parent) != Some(&true) {
                return problem(EntryProblem::NotInDirectory);
            }
            let is_directory = entry.kind == EntryKind::Directory;
            if is_prefix && !is_directory {
                return Err(ManifestError::PrefixNotDirectory(entry.path.to_vec()));
            }
            if directories.insert(&entry.path, is_directory).is_some() {
                return problem(EntryProblem::Duplicate);
            }
            self.check_kind(number, entry).or_else(problem)?;
        }
        let mut prefixes = self.prefixes.iter().map(|prefix| prefix.path.as_slice());
        match prefixes.find(|path| !directories.contains_key(path)) {
            Some(path) => Err(ManifestError::MissingPrefix(path.to_vec())),
            None => Ok(()),
        }
    }

    fn check_prefixes(&self) -> Result<()> {
        for prefix in &self.prefixes {
            for path in prefix.spellings().map(|path| path.as_os_str().as_bytes()) {
                check_path(path).map_err(|problem| ManifestError::entry(path, problem))?;
            }
            let mut others = self.prefixes.iter().filter(|other| *other != prefix);
            if others.any(|other| prefix.path().starts_with(other.path())) {
                return Err(ManifestError::NestedPrefix(prefix.path.to_vec()));
            }
        }
        if self.prefixes.is_empty() { Err(ManifestError::NoPrefix) } else { Ok(()) }
    }

    /// Checks the targets of links, and that a whole bundle has the data of its files.
    fn check_kind(
        &self,
        number: usize,
        entry: &EntryRecord,
    ) -> std::result::Result<(), EntryProblem> {
        match &entry.kind {
            EntryKind::HardLink(to) => {
                let target = self.entries[..number].get(*to as usize).map(|target| &target.kind);
                match target {
                    Some(EntryKind::File { .. } | EntryKind::Below) => Ok(()),
                    _ => Err(EntryProblem::LinkToNoFile),
                }
            }
            EntryKind::Symlink(target)
                if target.is_empty() || target.len() >= PATH_MAX || target.contains(&0) =>
            {
                Err(EntryProblem::ImpossibleTarget)
            }
            EntryKind::Below if self.layer.is_none() => Err(EntryProblem::NoData),
            _ => Ok(()),
        }
    }

    fn check_layer(&self, layer: &Layer) -> Result<()> {
        for path in layer.removed.iter().chain(&layer.opaque) {
            check_path(path).map_err(|problem| ManifestError::entry(path, problem))?;
            if !self.prefixes.iter().any(|p| at_or_below(path, &p.path)) {
                return Err(ManifestError::RemovesOutside(path.to_vec()));
            }
        }
        let is_prefix = |path: &[u8]| self.prefixes.iter().any(|prefix| prefix.path == path);
        if let Some(path) = layer.removed.iter().find(|path| is_prefix(path)) {
            return Err(ManifestError::RemovesPrefix(path.to_vec()));
        }
        let is_directory = |number: &u32| {
            let entry = self.entries.get(*number as usize);
            entry.is_some_and(|e| e.kind == EntryKind::Directory)
        };
        if layer.implied.iter().all(is_directory) {
            Ok(())
        } else {
            Err(ManifestError::ImpliedNotDirectory)
        }
    }
}
