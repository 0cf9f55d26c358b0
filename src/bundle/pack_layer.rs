//! What of a tree goes into a layer: what is not as the bundles below say.
//!
//! A path is unchanged only where everything is that `lstat` says but the times of access: whatever is done to a path
//! sets its time of change. A file whose data is still that of below, by its digest, brings its attributes alone.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_bytes::ByteBuf;

use crate::bundle::named::Named;
use crate::bundle::reader::{Content, Reader};
use crate::error::{Error, Result};
use crate::manifest::entry::{EntryKind, EntryRecord, EntryStat, same};
use crate::manifest::layer::{Layer, Over};
use crate::manifest::prefix::{PrefixRecord, at_or_below};
use crate::manifest::stack::Stack;
use crate::manifest::walk::Found;

/// How a path goes into a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// With its data.
    Whole,
    /// Its data is there already.
    Kept,
    /// It is unchanged, and leads to what is not.
    Implied,
    /// Not at all.
    Not,
}

/// The bundles below.
pub(super) struct Below {
    stack: Stack,
    over: Vec<Over>,
}

impl Below {
    /// Opens them, the lowest first.
    pub fn open(bundles: &[PathBuf]) -> Result<Self> {
        let mut below = Self { stack: Stack::default(), over: Vec::new() };
        for path in bundles {
            let reader = Reader::open(&Named::file(path))?;
            let Content::Bundle(manifest) = reader.content() else { continue };
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            below.over.push(Over { name, digest: manifest.digest });
            let laid = below.stack.lay(manifest.clone());
            laid.map_err(|reason| Error::bundle(path, reason))?;
        }
        Ok(below)
    }

    /// Gives the prefixes the modes that they have below.
    pub fn inherit(&self, prefixes: &mut [PrefixRecord]) -> Result<()> {
        for prefix in prefixes {
            let Some(known) = self.stack.prefix_of(&prefix.path) else {
                let names: Vec<_> =
                    self.stack.prefixes().iter().map(|p| p.path().display().to_string()).collect();
                return Err(Error::Usage(format!(
                    "--over names bundles of {}, and {} does not lie there",
                    names.join(", "),
                    prefix.path().display()
                )));
            };
            prefix.mode = known.mode;
        }
        Ok(())
    }

    /// What of `found`, all that is below `prefixes`, goes into the layer, and the layer but its implied entries.
    pub fn compare(&self, prefixes: &[PrefixRecord], found: &[Found]) -> (Vec<Take>, Layer) {
        let known = self.known();
        let mut takes: Vec<Take> = found.iter().map(|f| take(f, &known)).collect();
        // Names of one file go together: each of them says how many there are.
        let id = |f: &Found| (f.stat.dev, f.stat.ino);
        let linked = |f: &Found| f.kind.is_file() && f.stat.nlink > 1;
        let changed: HashSet<_> = (found.iter().zip(&takes))
            .filter(|(f, take)| linked(f) && **take != Take::Not)
            .map(|(f, _)| id(f))
            .collect();
        for (f, one) in found.iter().zip(&mut takes) {
            if *one == Take::Not && linked(f) && changed.contains(&id(f)) {
                *one = kept_or_whole(f, &known);
            }
        }
        let mut leads: HashSet<&Path> = HashSet::new();
        for (f, one) in found.iter().zip(&mut takes).rev() {
            let is_prefix = prefixes.iter().any(|p| p.path() == f.path);
            if *one == Take::Not && (is_prefix || leads.contains(f.path.as_path())) {
                *one = Take::Implied;
            }
            if *one != Take::Not {
                leads.extend(f.path.parent());
            }
        }
        let there: HashMap<&[u8], bool> =
            found.iter().map(|f| (f.path.as_os_str().as_bytes(), f.kind.is_dir())).collect();
        let parent = |path: &[u8]| path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let mut gone: Vec<ByteBuf> = (known.keys())
            .filter(|path| prefixes.iter().any(|p| at_or_below(path, &p.path)))
            .filter(|path| {
                !there.contains_key(*path) && there.get(&path[..parent(path)]) == Some(&true)
            })
            .map(|path| ByteBuf::from(*path))
            .collect();
        gone.sort();
        (takes, Layer { over: self.over.clone(), gone, ..Layer::default() })
    }

    fn known(&self) -> HashMap<&[u8], Known<'_>> {
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

/// What is known of a path, with the digest of a file's data.
type Known<'a> = (&'a EntryStat, Option<[u8; 32]>);

fn digest(entry: &EntryRecord) -> Option<[u8; 32]> {
    match entry.kind {
        EntryKind::File { digest, .. } => Some(digest),
        _ => None,
    }
}

fn take(found: &Found, known: &HashMap<&[u8], Known<'_>>) -> Take {
    match known.get(found.path.as_os_str().as_bytes()) {
        Some((stat, _)) if same(stat, &found.stat) && stat.nlink == found.stat.nlink => Take::Not,
        _ => kept_or_whole(found, known),
    }
}

fn kept_or_whole(found: &Found, known: &HashMap<&[u8], Known<'_>>) -> Take {
    match known.get(found.path.as_os_str().as_bytes()) {
        Some((stat, Some(digest)))
            if found.kind.is_file()
                && stat.size == found.stat.size
                && is_data(&found.path, digest) =>
        {
            Take::Kept
        }
        _ => Take::Whole,
    }
}

/// Whether a file's data has this digest; what cannot be read has none.
fn is_data(path: &Path, digest: &[u8; 32]) -> bool {
    let mut hash = blake3::Hasher::new();
    let read = std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hash));
    read.is_ok() && hash.finalize().as_bytes() == digest
}
