//! Describes a bundle before its bytes arrive.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::archive::Archive;
use crate::bundle::Reader;
use crate::bundle::Size;

/// A bundle whose bytes will arrive, from its file or from a broadcast.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IncomingBundle {
    /// The bundle's name for messages.
    pub name: PathBuf,
    /// Bytes of the bundle's file.
    pub length: u64,
    /// Space that the bundle takes in a stage.
    pub size: Size,
    /// How to read the bundle, if it is a foreign tar.
    pub archive: Option<Archive>,
}

impl IncomingBundle {
    /// Describes an open bundle.
    #[must_use]
    pub fn of(reader: &Reader) -> Self {
        Self {
            name: reader.path().to_path_buf(),
            length: reader.len(),
            size: reader.size(),
            archive: reader.archive().cloned(),
        }
    }
}
