//! Holds the options of building a stage: which bundles are staged, with how many threads, and within which limits.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::manifest::prefix::PrefixRecord;
use crate::manifest::stack::wanted;

/// Maximum number of threads by default. More threads do not write faster into memory, and each needs memory for
/// frames.
const MAX_DEFAULT_THREADS: usize = 6;
/// Maximum number of threads, even if the user asks for more.
const MAX_THREADS: usize = 64;

/// What happens to a stage when its last user releases it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AfterUse {
    /// The stage is removed.
    #[default]
    Remove,
    /// The stage stays until a user removes it by name (`--keep`).
    Keep,
}

impl AfterUse {
    /// Returns [`AfterUse::Keep`] if `keep`, the user's option, is set.
    #[must_use]
    pub fn keep_if(keep: bool) -> Self {
        if keep { Self::Keep } else { Self::Remove }
    }
}

/// Whether it is known that the prefixes have not changed since their bundles were packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Freshness {
    /// The prefixes may have changed, so a stage that is used again is compared with them.
    #[default]
    Unknown,
    /// The bundles were compared with the prefixes just now.
    JustCompared,
}

impl Freshness {
    /// Returns [`Freshness::JustCompared`] if `fresh` is set, that is if the bundles were compared with their prefixes
    /// just now.
    #[must_use]
    pub fn known_if(fresh: bool) -> Self {
        if fresh { Self::JustCompared } else { Self::Unknown }
    }
}

/// The options with which a stage is built.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Threads that decompress and write; 0 takes as many as the process may use, at most six.
    pub threads: usize,
    /// Only bundles that cover one of these paths are staged; `None` if all bundles are staged.
    pub interests: Option<Vec<PathBuf>>,
    /// What happens to the stage after use.
    pub after_use: AfterUse,
    /// Bytes that stay free in the root's file system; `None` takes a default that depends on the size of the file
    /// system.
    pub reserve: Option<u64>,
    /// Whether the prefixes are known to be unchanged.
    pub freshness: Freshness,
}

impl BuildOptions {
    /// Tells for each of the job's bundles whether it is to be staged. `prefixes` has the prefixes of each bundle.
    #[must_use]
    pub fn wanted(&self, prefixes: &[&[PrefixRecord]]) -> Vec<bool> {
        match &self.interests {
            Some(paths) => wanted(prefixes, paths),
            None => vec![true; prefixes.len()],
        }
    }

    /// Returns the number of threads that decompress and write.
    pub(super) fn threads(&self) -> usize {
        match self.threads {
            0 => {
                std::thread::available_parallelism().map_or(1, |n| n.get()).min(MAX_DEFAULT_THREADS)
            }
            n => n.min(MAX_THREADS),
        }
    }
}
