//! Selects the paths of a tree that go into a layer: those that differ from the lower bundles, over which the layer is
//! packed.
//!
//! A path is unchanged if no field of its `lstat` has changed; the time of access is ignored. Comparing these fields is
//! enough, because every change of a path sets the path's time of status change. If a changed file still has the data
//! whose digest a lower bundle records, only the file's attributes go into the layer.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_bytes::ByteBuf;

use crate::bundle::named::Named;
use crate::bundle::reader::{Content, Reader};
use crate::error::{Error, Result};
use crate::manifest::entry::{EntryKind, EntryRecord, EntryStat};
use crate::manifest::layer::{Layer, LowerBundle};
use crate::manifest::prefix::{PrefixRecord, at_or_below};
use crate::manifest::stack::Stack;
use crate::manifest::walk::WalkEntry;

/// How a path goes into a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inclusion {
    /// The path goes in with its data.
    Whole,
    /// The path goes in with its attributes; the data is in a lower bundle.
    AttributesOnly,
    /// The path goes in as an unchanged directory that leads to a path that changed.
    Implied,
    /// The path does not go in.
    Omitted,
}

/// A path that goes into a bundle, and how.
pub(super) type PackedPath<'a> = (&'a WalkEntry, Inclusion);

/// The bundles that a layer is packed over.
pub(super) struct LowerBundles {
    stack: Stack,
    over: Vec<LowerBundle>,
}

impl LowerBundles {
    /// Opens bundles, the lowest first.
    pub fn open(bundles: &[PathBuf]) -> Result<Self> {
        let mut lower = Self { stack: Stack::default(), over: Vec::new() };
        for path in bundles {
            let reader = Reader::open(&Named::file(path))?;
            let Content::Bundle(manifest) = reader.content() else { continue };
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            lower.over.push(LowerBundle { name, digest: manifest.digest });
            let laid = lower.stack.lay(manifest.clone());
            laid.map_err(|reason| Error::bundle(path, reason))?;
        }
        Ok(lower)
    }

    /// Gives the prefixes the modes that they have in the lower bundles.
    pub fn inherit_modes(&self, prefixes: &mut [PrefixRecord]) -> Result<()> {
        for prefix in prefixes {
            let Some(known) = self.stack.prefix_of(&prefix.path) else {
                let names: Vec<_> =
                    self.stack.prefixes().iter().map(|p| p.path().display().to_string()).collect();
                return Err(Error::Usage(format!(
                    "failed to pack a layer of {prefix}: the bundles that --over names have only {}; leave --over out, \
                     or name bundles that have {prefix}",
                    names.join(", "),
                    prefix = prefix.path().display()
                )));
            };
            prefix.mode = known.mode;
        }
        Ok(())
    }

    /// Decides for each path of `found` how the path goes into the layer. `found` has all paths below `prefixes`. Also
    /// returns the layer; the caller adds the list of implied entries.
    pub fn compare(
        &self,
        prefixes: &[PrefixRecord],
        found: &[WalkEntry],
    ) -> (Vec<Inclusion>, Layer) {
        let known = self.known();
        let mut inclusions: Vec<Inclusion> = found.iter().map(|f| inclusion(f, &known)).collect();
        include_linked_names(found, &known, &mut inclusions);
        imply_parents(prefixes, found, &mut inclusions);
        let removed = removed_paths(prefixes, found, &known);
        (inclusions, Layer { over: self.over.clone(), removed, ..Layer::default() })
    }

    fn known(&self) -> KnownPaths<'_> {
        let of = |entries: &[EntryRecord], entry: &EntryRecord| match &entry.kind {
            EntryKind::HardLink(to) => digest(&entries[*to as usize]),
            _ => digest(entry),
        };
        let bundles = self.stack.bundles().iter();
        bundles
            .flat_map(|m| m.entries.iter().map(move |e| (m, e)))
            .map(|(m, e)| (e.path.as_slice(), (&e.stat, of(&m.entries, e))))
            .collect()
    }
}

/// The paths in the lower bundles, with their `lstat` and the digest of a file's data.
type KnownPaths<'a> = HashMap<&'a [u8], (&'a EntryStat, Option<[u8; 32]>)>;

fn digest(entry: &EntryRecord) -> Option<[u8; 32]> {
    match entry.kind {
        EntryKind::File { digest, .. } => Some(digest),
        _ => None,
    }
}

fn inclusion(found: &WalkEntry, known: &KnownPaths<'_>) -> Inclusion {
    match known.get(found.path.as_os_str().as_bytes()) {
        Some((stat, _)) if stat.is_unchanged(&found.stat) && stat.nlink == found.stat.nlink => {
            Inclusion::Omitted
        }
        _ => changed_inclusion(found, known),
    }
}

/// How a path that changed goes into the layer.
fn changed_inclusion(found: &WalkEntry, known: &KnownPaths<'_>) -> Inclusion {
    match known.get(found.path.as_os_str().as_bytes()) {
        Some((stat, Some(digest)))
            if found.kind.is_file()
                && stat.size == found.stat.size
                && has_digest(&found.path, digest) =>
        {
            Inclusion::AttributesOnly
        }
        _ => Inclusion::Whole,
    }
}

/// Whether a file's data has this digest; `false` if the file cannot be read.
fn has_digest(path: &Path, digest: &[u8; 32]) -> bool {
    let mut hash = blake3::Hasher::new();
    let read = std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hash));
    read.is_ok() && hash.finalize().as_bytes() == digest
}

/// Includes all names of a file if one of the names changed, since the record of each name has the number of names.
fn include_linked_names(found: &[WalkEntry], known: &KnownPaths<'_>, inclusions: &mut [Inclusion]) {
    let inode = |f: &WalkEntry| (f.stat.dev, f.stat.ino);
    let is_linked = |f: &WalkEntry| f.kind.is_file() && f.stat.nlink > 1;
    let changed: HashSet<_> = (found.iter().zip(&*inclusions))
        .filter(|(f, inclusion)| is_linked(f) && **inclusion != Inclusion::Omitted)
        .map(|(f, _)| inode(f))
        .collect();
    for (f, inclusion) in found.iter().zip(inclusions) {
        if *inclusion == Inclusion::Omitted && is_linked(f) && changed.contains(&inode(f)) {
            *inclusion = changed_inclusion(f, known);
        }
    }
}

/// Includes the prefixes, and the directories that lead to included paths.
fn imply_parents(prefixes: &[PrefixRecord], found: &[WalkEntry], inclusions: &mut [Inclusion]) {
    let mut parents: HashSet<&Path> = HashSet::new();
    for (f, inclusion) in found.iter().zip(inclusions).rev() {
        let is_prefix = prefixes.iter().any(|p| p.path() == f.path);
        if *inclusion == Inclusion::Omitted && (is_prefix || parents.contains(f.path.as_path())) {
            *inclusion = Inclusion::Implied;
        }
        if *inclusion != Inclusion::Omitted {
            parents.extend(f.path.parent());
        }
    }
}

/// Lists the known paths that are gone and whose parents are still directories.
fn removed_paths(
    prefixes: &[PrefixRecord],
    found: &[WalkEntry],
    known: &KnownPaths<'_>,
) -> Vec<ByteBuf> {
    let is_directory: HashMap<&[u8], bool> =
        found.iter().map(|f| (f.path.as_os_str().as_bytes(), f.kind.is_dir())).collect();
    let parent = |path: &[u8]| path.iter().rposition(|b| *b == b'/').unwrap_or(0);
    let mut removed: Vec<ByteBuf> = (known.keys())
        .filter(|path| prefixes.iter().any(|p| at_or_below(path, &p.path)))
        .filter(|path| {
            !is_directory.contains_key(*path)
                && is_directory.get(&path[..parent(path)]) == Some(&true)
        })
        .map(|path| ByteBuf::from(*path))
        .collect();
    removed.sort();
    removed
}
