//! What makes a bundle a *layer*: it says only what changed since the bundles that it lies over.
//!
//! A layer without them would have holes that answer wrongly, so that it is only taken over exactly these
//! ([`crate::manifest::stack`]). One that others made, as a container image has them, does not say what it lies over.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::manifest::Manifest;
use crate::manifest::entry::{EntryKind, check_path};
use crate::manifest::prefix::at_or_below;

/// What a layer says beside its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The bundles it lies over, the lowest first; empty where that is not known.
    pub over: Vec<Over>,
    /// Paths that are gone, with all below them.
    pub gone: Vec<ByteBuf>,
    /// Directories of which nothing is left that was in them.
    pub opaque: Vec<ByteBuf>,
    /// Entries that are only there because others lie in them: directories that are as they are below.
    pub implied: Vec<u32>,
}

/// A bundle that a layer lies over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// What its file was called.
    pub name: String,
    /// blake3 of its manifest.
    pub digest: [u8; 32],
}

impl Layer {
    /// The rules that make it safe to obey, beside those of the manifest.
    pub(crate) fn check(&self, manifest: &Manifest) -> Result<(), String> {
        for path in self.gone.iter().chain(&self.opaque) {
            check_path(path)?;
            if !manifest.prefixes.iter().any(|p| at_or_below(path, &p.path)) {
                let shown = crate::text::shown(path);
                return Err(format!("it removes {shown}, which lies outside its prefixes"));
            }
        }
        if let Some(path) =
            self.gone.iter().find(|g| manifest.prefixes.iter().any(|p| p.path == **g))
        {
            return Err(format!("it removes its own prefix {}", crate::text::shown(path)));
        }
        let directory = |number: &u32| {
            let entry = manifest.entries.get(*number as usize);
            entry.is_some_and(|e| e.kind == EntryKind::Directory)
        };
        match self.implied.iter().all(directory) {
            true => Ok(()),
            false => Err("it takes for granted what is no directory of it".into()),
        }
    }

    /// The numbers of the entries that it takes for granted.
    pub(crate) fn implied(&self) -> HashSet<usize> {
        self.implied.iter().map(|number| *number as usize).collect()
    }

    /// The files it lies over, for messages: "base.tar.zst and more.tar.zst".
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.over.iter().map(|over| over.name.as_str()).collect();
        match names.split_last() {
            None => "what is named before it".into(),
            Some((last, [])) => (*last).into(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
        }
    }
}
