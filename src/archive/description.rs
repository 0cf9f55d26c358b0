//! Describes a foreign tar to a node before its bytes arrive.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::archive::compression::Compression;
use crate::archive::placement::Placement;

/// What the user and the first bytes of a foreign tar tell about the tar.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Archive {
    /// How the tar is compressed.
    pub compression: Compression,
    /// The paths to which the members belong.
    pub placement: Placement,
    /// Whether the tar holds its whole prefix or only changes.
    pub scope: Scope,
    /// When the file was written, in seconds and nanoseconds. Changes of the prefix after this time are not in the
    /// file.
    pub written: (i64, i64),
}

/// Whether a foreign tar holds its whole prefix or only changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The whole prefix: a path that is not in the tar does not exist.
    Whole,
    /// Only the changes since the bundles below the tar. Whiteouts name the removed paths.
    Layer,
}
