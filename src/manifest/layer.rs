//! Defines what only a *layer* records. A layer is a bundle that holds only what changed since the bundles below it.
//!
//! Without these bundles a layer would give a wrong answer for every path that the layer does not hold. So a layer is
//! staged only over the same bundles ([`crate::manifest::stack`]). A foreign layer, such as one of a container image,
//! does not name the bundles below it.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// What a layer records in addition to its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The bundles it was packed over, the lowest first; empty where they are not known.
    pub over: Vec<LowerBundle>,
    /// Paths that the layer removes, with everything below these paths.
    pub removed: Vec<ByteBuf>,
    /// Directories that the layer empties before its own entries are laid.
    pub opaque: Vec<ByteBuf>,
    /// Numbers of the entries of unchanged directories, which the layer lists only because other entries lie in them.
    pub implied: Vec<u32>,
}

/// A bundle that a layer was packed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowerBundle {
    /// Its file name.
    pub name: String,
    /// blake3 of its manifest.
    pub digest: [u8; 32],
}

impl Layer {
    /// The numbers of the implied entries as a set.
    pub(crate) fn implied(&self) -> HashSet<usize> {
        self.implied.iter().map(|number| *number as usize).collect()
    }

    /// The file names of the bundles below for messages: "base.tar.zst and more.tar.zst".
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.over.iter().map(|over| over.name.as_str()).collect();
        match names.split_last() {
            None => "the bundles named before it".into(),
            Some((last, [])) => (*last).into(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
        }
    }
}
