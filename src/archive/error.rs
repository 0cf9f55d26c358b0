//! Defines the reasons for which a foreign tar is refused. Each message completes "failed to use bundle X: …".
#![forbid(unsafe_code)]

use std::io;

use crate::manifest::ManifestError;
use crate::manifest::entry::PathProblem;
use crate::text::{bytes, shown};

/// Why an archive is refused. Names and paths are bytes, as the tar has them.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file has no bytes.
    #[error("it is empty")]
    Empty,
    /// The file is not a tar.
    #[error("it is not a tar, compressed or not")]
    NotATar,
    /// The file is of a known format that cannot be read.
    #[error("it is {0}; only tars that are plain or compressed by gzip or zstd can be staged")]
    Unsupported(&'static str),
    /// The bytes end too early.
    #[error("it is truncated; copy or make it again")]
    Truncated,
    /// Decompression would take too much memory.
    #[error("it is compressed with a window of more than 128 MB; compress it without --long")]
    LargeWindow(#[source] io::Error),
    /// Decompression failed.
    #[error("it is damaged, or has extra bytes after its end ({0}); copy or make it again")]
    Damaged(#[source] io::Error),
    /// A block is not a header where one must be.
    #[error("it is damaged: at byte {0} of the tar there is no header")]
    NoHeader(u64),
    /// Something other than zeros follows the end of the tar.
    #[error("it has extra bytes after its end, perhaps another tar; make it again")]
    TrailingData,
    /// An extended header or a long name is larger than pyshm accepts.
    #[error("it has an extended header that claims {}", bytes(*.0))]
    LargeHeader(u64),
    /// An extended header does not consist of records.
    #[error("it has a malformed extended header before byte {0} of the tar")]
    MalformedHeader(u64),
    /// A member breaks a rule.
    #[error("its member {} {problem}", shown(name))]
    Member {
        /// Its name.
        name: Vec<u8>,
        /// The rule.
        #[source]
        problem: MemberProblem,
    },
    /// The archive unpacks to many times the size of its file.
    #[error(
        "it unpacks to more than {ratio} times its size: to {} up to its member {}; if that is intended, pack its files \
         with 'pyshm bundle env' instead",
        bytes(*unpacked),
        shown(name)
    )]
    Expansion {
        /// The multiple of its size that is allowed.
        ratio: u64,
        /// Bytes of the files up to this member.
        unpacked: u64,
        /// The member that took it over the limit.
        name: Vec<u8>,
    },
    /// The members break a rule for manifests.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// The rule that one member breaks; completes "its member NAME …".
#[derive(Debug, thiserror::Error)]
pub enum MemberProblem {
    /// The size is not a number.
    #[error("claims a size that is not a number")]
    Size,
    /// A field of the header cannot be read.
    #[error("has a malformed {0} in its header")]
    MalformedField(&'static str),
    /// The map of a sparse file cannot be read, or does not fit the file.
    #[error("has a malformed map of its holes")]
    MalformedMap,
    /// A sparse file claims more bytes than any file system stores.
    #[error("claims {}, more than any file system stores", bytes(*.0))]
    LargeSparse(u64),
    /// The name has a NUL.
    #[error("has a NUL in its name")]
    NulInName,
    /// The name has '..' as a part.
    #[error("has '..' in its name")]
    ParentInName,
    /// The name does not lead into the prefix.
    #[error("lies outside the prefix {}", shown(.0))]
    Outside(Vec<u8>),
    /// The name does not begin with the same part of the prefix as the first member's name.
    #[error(
        "does not lie in the prefix {prefix} as the first member does; make the archive with 'tar -C {prefix} … .'",
        prefix = shown(.0)
    )]
    OutsideAnchor(Vec<u8>),
    /// The kernel would not accept the path.
    #[error("would become {}, which {problem}", shown(path))]
    Path {
        /// The path that the name leads to.
        path: Vec<u8>,
        /// What is wrong with it.
        #[source]
        problem: PathProblem,
    },
    /// The target of a symbolic link is empty or has a NUL.
    #[error("is a symbolic link with an impossible target")]
    ImpossibleTarget,
    /// The target of a symbolic link is too long.
    #[error("is a symbolic link with a target longer than Linux takes")]
    LongTarget,
    /// Members of this type cannot be staged.
    #[error("is {0}; leave it out of the archive")]
    Unsupported(&'static str),
    /// A whiteout appears in a tar that is not a layer.
    #[error(
        "is a whiteout, as in the layer of a container image; name the bundle that the layer changes first, and add --layer \
         after the layer"
    )]
    UnexpectedWhiteout,
    /// A whiteout names nothing.
    #[error("is a whiteout that names no path")]
    NamelessWhiteout,
    /// An earlier member has the same name.
    #[error("appears twice; make the archive again, without 'tar -r'")]
    Duplicate,
    /// A directory above is a symbolic link.
    #[error("lies behind the symbolic link {}, which could lead anywhere", shown(.0))]
    BehindSymlink(Vec<u8>),
    /// A path above is not a directory.
    #[error("lies below {}, which is not a directory", shown(.0))]
    BelowFile(Vec<u8>),
    /// The target of a hard link is not below the prefix.
    #[error("is a hard link to {}, which {problem}", shown(target))]
    LinkOutside {
        /// The target.
        target: Vec<u8>,
        /// What is wrong with it.
        #[source]
        problem: Box<MemberProblem>,
    },
    /// The target of a hard link is not an earlier file.
    #[error("is a hard link to {}, which is not a file that comes before it in the archive", shown(.0))]
    LinkToNoFile(Vec<u8>),
}

impl ArchiveError {
    /// The error of the member `name`.
    pub(super) fn member(name: &[u8], problem: MemberProblem) -> Self {
        Self::Member { name: name.to_vec(), problem }
    }
}

/// Classifies a failure to read or decompress the archive.
impl From<io::Error> for ArchiveError {
    fn from(cause: io::Error) -> Self {
        if cause.kind() == io::ErrorKind::UnexpectedEof {
            Self::Truncated
        } else if cause.to_string().contains("too much memory") {
            Self::LargeWindow(cause)
        } else {
            Self::Damaged(cause)
        }
    }
}
