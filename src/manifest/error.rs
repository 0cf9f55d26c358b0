//! Defines the reasons for which a manifest is refused. Each message completes "failed to use bundle X: …".
#![forbid(unsafe_code)]

use crate::manifest::entry::PathProblem;
use crate::text::{bytes, shown};

/// The rule that a manifest breaks. Paths are those of the manifest, as bytes.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The first bytes are not those of a manifest.
    #[error("its manifest was not written by pyshm")]
    Foreign,
    /// The bytes end before the version.
    #[error("its manifest is truncated")]
    Truncated,
    /// The version is newer than this program.
    #[error("its format version is {0}, which this pyshm does not know")]
    UnknownVersion(u32),
    /// The bytes cannot be decoded.
    #[error("its manifest is damaged ({0})")]
    Damaged(#[from] postcard::Error),
    /// A frame has more bytes than frames may have.
    #[error("a frame claims {} of data, more than any frame has", bytes((*.0).into()))]
    LargeFrame(u32),
    /// The extended attributes do not match the entries or exceed Linux's limits.
    #[error("its extended attributes are impossible")]
    Xattrs,
    /// There is no prefix.
    #[error("it names no prefix")]
    NoPrefix,
    /// A prefix lies below another.
    #[error("its prefix {} lies below another one", shown(.0))]
    NestedPrefix(Vec<u8>),
    /// A prefix has no entry of its own.
    #[error("prefix {} has no entry", shown(.0))]
    MissingPrefix(Vec<u8>),
    /// The entry of a prefix is not a directory.
    #[error("prefix {} is not a directory", shown(.0))]
    PrefixNotDirectory(Vec<u8>),
    /// An entry breaks a rule.
    #[error("entry {} {problem}", shown(path))]
    Entry {
        /// Its path.
        path: Vec<u8>,
        /// The rule.
        #[source]
        problem: EntryProblem,
    },
    /// A layer removes a path outside its prefixes.
    #[error("it removes {}, which lies outside its prefixes", shown(.0))]
    RemovesOutside(Vec<u8>),
    /// A layer removes its prefix.
    #[error("it removes its own prefix {}", shown(.0))]
    RemovesPrefix(Vec<u8>),
    /// A layer's list of implied directories, those that did not change, names an entry that is not a directory.
    #[error("it lists an implied directory that is none of its directories")]
    ImpliedNotDirectory,
}

/// The rule that one entry breaks; completes "entry PATH …".
#[derive(Debug, thiserror::Error)]
pub enum EntryProblem {
    /// The kernel would not accept the path.
    #[error(transparent)]
    Path(#[from] PathProblem),
    /// Its parent is not a directory of the manifest.
    #[error("does not lie in a directory of the bundle")]
    NotInDirectory,
    /// An earlier entry has the same path.
    #[error("appears twice")]
    Duplicate,
    /// The target of a hard link is not an earlier file of the manifest.
    #[error("is a hard link to something that is not a file of the bundle")]
    LinkToNoFile,
    /// The kernel would not accept the target of a symbolic link.
    #[error("is a symbolic link with an impossible target")]
    ImpossibleTarget,
    /// A whole bundle has no data for a file.
    #[error("has no data")]
    NoData,
    /// The data lies outside the stream, or overlaps another file's.
    #[error("claims data that the bundle does not have")]
    DataOutside,
}

impl ManifestError {
    /// The error of the entry at `path`.
    pub(super) fn entry(path: &[u8], problem: impl Into<EntryProblem>) -> Self {
        Self::Entry { path: path.to_vec(), problem: problem.into() }
    }
}
