//! Defines the reasons why a bundle's file is refused. Each message completes "failed to use bundle X: …".
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::error::Error;
use crate::manifest::ManifestError;
use crate::text::bytes;

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The name is that of a directory or a device.
    #[error("it is not a file")]
    NotAFile,
    /// The file has no bytes.
    #[error("it is empty")]
    Empty,
    /// The file is compressed and has no head.
    #[error("it is compressed, but was not made by pyshm; make one with 'pyshm bundle env'")]
    CompressedWithoutHead,
    /// The file is neither compressed nor a tar.
    #[error("it is not a compressed tar; make one with 'pyshm bundle env'")]
    NotATar,
    /// The head comes from another program.
    #[error("it was not made by pyshm; make one with 'pyshm bundle env'")]
    ForeignHead,
    /// The head is newer than this program.
    #[error("its format version is {0}, which this pyshm does not know")]
    UnknownVersion(u64),
    /// The file ends within its head or manifest.
    #[error("it is truncated; pack it again with 'pyshm bundle env'")]
    Truncated,
    /// The manifest claims to be larger than any manifest may be.
    #[error("its manifest claims to have {}, more than any manifest may have", bytes(*.0))]
    LargeManifest(u64),
    /// The manifest's bytes are not those that the head's digest names.
    #[error("its manifest is damaged; pack it again with 'pyshm bundle env'")]
    DamagedManifest,
    /// The manifest cannot be decompressed.
    #[error("its manifest is damaged ({0}); pack it again with 'pyshm bundle env'")]
    UndecodableManifest(#[source] io::Error),
    /// The file is shorter than its manifest says.
    #[error(
        "it is truncated ({is} bytes, {expected} expected); pack it again with 'pyshm bundle env'"
    )]
    Short {
        /// Bytes of the file.
        is: u64,
        /// Bytes that the manifest says.
        expected: u64,
    },
    /// The file is longer than its manifest says.
    #[error(
        "it is longer than it should be ({is} bytes, {expected} expected); pack it again with 'pyshm bundle env'"
    )]
    Long {
        /// Bytes of the file.
        is: u64,
        /// Bytes that the manifest says.
        expected: u64,
    },
    /// The user names a prefix that the bundle does not have.
    #[error(
        "it is a bundle of {}, not of {}; leave --prefix out, or pack it again",
        own.display(),
        named.display()
    )]
    OtherPrefix {
        /// The bundle's first prefix.
        own: PathBuf,
        /// The prefix that the user names.
        named: PathBuf,
    },
    /// The user names a whole bundle as a layer.
    #[error("it is not a layer; make one with 'pyshm bundle env --over', or leave --layer out")]
    NotALayer,
    /// A foreign tar is named without its prefix.
    #[error(
        "it was not made by pyshm, or is damaged; add --prefix DIR to say where its members belong, or make a bundle \
         with 'pyshm bundle env'"
    )]
    UnknownPrefix,
    /// The file was cut while it was open.
    #[error("it became shorter while it was read")]
    Shrunk,
    /// The manifest breaks a rule.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The foreign tar breaks a rule.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Returns the error of a path that changed while it was packed.
pub(super) fn changed_while_packed(path: &Path) -> Error {
    Error::TryAgain(format!(
        "failed to pack {}: it changed while it was packed; try again when no process writes to it",
        path.display()
    ))
}
