//! Describes a foreign tar to a node before its bytes arrive.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::archive::compression::Compression;
use crate::archive::placement::Placement;

/// What the user and the first bytes of a foreign tar tell about the tar.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Archive {
    /// How it is compressed.
    pub compression: Compression,
    /// Where its members belong.
    pub placement: Placement,
    /// How much of its prefix it holds.
    pub scope: Scope,
    /// When the file was written, in seconds and nanoseconds. Changes of the prefix after this time are not in the
    /// file.
    pub written: (i64, i64),
}

/// How much of its prefix a foreign tar holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Everything: a path that the tar does not hold does not exist.
    Whole,
    /// Only what changed since the bundles below it; whiteouts name what is removed.
    Layer,
}
