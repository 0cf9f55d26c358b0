//! How a stage is built: from which bundles, with how many threads, and within which limits.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::manifest::prefix::PrefixRecord;
use crate::manifest::stack::wanted;

/// Threads by default at most: more write no faster into memory, and each needs the memory of its frames.
const MAX_DEFAULT_THREADS: usize = 6;
/// Threads at most, even where the user asks for more.
const MAX_THREADS: usize = 64;

/// What happens to a stage when its last user releases it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AfterUse {
    /// It is removed.
    #[default]
    Remove,
    /// It stays until a user removes it by name (`--keep`).
    Keep,
}

impl AfterUse {
    /// [`AfterUse::Keep`] if `keep`, the user's option.
    #[must_use]
    pub fn keep_if(keep: bool) -> Self {
        if keep { Self::Keep } else { Self::Remove }
    }
}

/// What is known of the prefixes since their bundles were packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Freshness {
    /// They may have changed, so that a stage that is used again is compared with them.
    #[default]
    Unknown,
    /// The bundles were compared with them just now.
    JustCompared,
}

impl Freshness {
    /// [`Freshness::JustCompared`] if `fresh`.
    #[must_use]
    pub fn known_if(fresh: bool) -> Self {
        if fresh { Self::JustCompared } else { Self::Unknown }
    }
}

/// What a stage is built from, and within which limits.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Threads that decompress and write; 0 takes as many as the process may use, at most six.
    pub threads: usize,
    /// Stage only bundles that have to do with one of these paths; `None` stages all.
    pub interests: Option<Vec<PathBuf>>,
    /// What happens to the stage after use.
    pub after_use: AfterUse,
    /// Bytes that stay free; `None` takes the default of the settings.
    pub reserve: Option<u64>,
    /// What is known of the prefixes.
    pub freshness: Freshness,
}

impl BuildOptions {
    /// For each of the job's bundles, whether it is to be staged; `prefixes` are those of each bundle.
    #[must_use]
    pub fn wanted(&self, prefixes: &[&[PrefixRecord]]) -> Vec<bool> {
        match &self.interests {
            Some(paths) => wanted(prefixes, paths),
            None => vec![true; prefixes.len()],
        }
    }

    /// The number of threads that decompress and write.
    pub(super) fn threads(&self) -> usize {
        match self.threads {
            0 => {
                std::thread::available_parallelism().map_or(1, |n| n.get()).min(MAX_DEFAULT_THREADS)
            }
            n => n.min(MAX_THREADS),
        }
    }
}
