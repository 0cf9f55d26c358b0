//! A prefix of a manifest, and how paths and prefixes lie to each other.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// What a path that the bundle does not know means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// It does not exist.
    Snapshot,
    /// It may exist on the shared file system.
    Overlay,
}

/// A directory of the shared file system that the bundle stands in for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixRecord {
    /// Its real path.
    pub path: ByteBuf,
    /// Other absolute spellings under which it was named.
    pub aliases: Vec<ByteBuf>,
    /// What a miss means.
    pub mode: Mode,
}

impl PrefixRecord {
    /// The path for file operations.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// All spellings, the real path first.
    pub fn spellings(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.path).chain(&self.aliases).map(|p| Path::new(OsStr::from_bytes(p)))
    }
}

/// Whether an absolute path is `top` or lies below it.
pub(crate) fn at_or_below(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Whether a prefix of one lies at, above or below one of the other.
pub(crate) fn overlap(one: &[PrefixRecord], other: &[PrefixRecord]) -> bool {
    let meets = |a: &PrefixRecord, b: &PrefixRecord| {
        at_or_below(&a.path, &b.path) || at_or_below(&b.path, &a.path)
    };
    one.iter().any(|a| other.iter().any(|b| meets(a, b)))
}

/// Whether one of `paths` lies at or below one of `prefixes`, in any spelling.
pub(crate) fn covers(prefixes: &[PrefixRecord], paths: &[PathBuf]) -> bool {
    prefixes.iter().any(|prefix| {
        prefix.spellings().any(|spelling| paths.iter().any(|p| p.starts_with(spelling)))
    })
}
