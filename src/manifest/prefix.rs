//! Defines a prefix of a manifest, and tells whether paths and prefixes contain each other.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Tells how a path below the prefix is answered if the bundle does not have the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The path does not exist.
    Snapshot,
    /// The path may exist on the shared file system.
    Overlay,
}

/// A directory of the shared file system that the bundle replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixRecord {
    /// Its real path.
    pub path: ByteBuf,
    /// Other absolute spellings of the path, which the user wrote.
    pub aliases: Vec<ByteBuf>,
    /// How a path that the bundle does not have is answered.
    pub mode: Mode,
}

impl PrefixRecord {
    /// Its real path.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// All its spellings, the real path first.
    pub fn spellings(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.path).chain(&self.aliases).map(|p| Path::new(OsStr::from_bytes(p)))
    }
}

/// Returns the aliases of a prefix: the absolute path `spelled`, as the user wrote it, unless it is the real path.
pub(crate) fn aliases_of(spelled: &Path, real: &Path) -> Vec<ByteBuf> {
    // `std::path::absolute` keeps "..", which only the kernel can resolve: such a spelling is no alias.
    let is_plain = spelled.components().all(|part| part != Component::ParentDir);
    // This turns `/a//b/./c` into `/a/b/c`.
    let spelled: PathBuf = spelled.components().collect();
    if is_plain && spelled != real { vec![bytes_of(&spelled)] } else { Vec::new() }
}

/// A path as the bytes that a manifest records.
pub(crate) fn bytes_of(path: &Path) -> ByteBuf {
    ByteBuf::from(path.as_os_str().as_bytes())
}

/// Whether an absolute path is `top` or lies below it.
pub(crate) fn at_or_below(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Whether a prefix of `one` lies at, above or below a prefix of `other`.
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
