//! How a stage is built: which bundles, how many threads, how much memory stays free.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::manifest::prefix::PrefixRecord;
use crate::manifest::stack::wanted;
use crate::stage::Identity;

/// More threads than this write no faster into memory, and each needs the memory of its frames.
const MAX_THREADS: usize = 6;
/// No more than this even where more are asked for.
const MOST_THREADS: usize = 64;

/// What a stage is built from, and within which limits.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Threads that decompress and write; 0 takes what the process may use, at most six.
    pub threads: usize,
    /// Only bundles are staged that have to do with one of these paths; `None` stages all.
    pub interests: Option<Vec<PathBuf>>,
    /// What the bundles that were named are now, in their order; a kept stage of what they were before goes.
    pub identities: Vec<Identity>,
    /// The stage stays until someone removes it by name.
    pub keep: bool,
    /// Bytes that stay free; `None` takes the default of the settings.
    pub reserve: Option<u64>,
    /// The bundles are known to be as their prefixes are now, so that nothing has to be compared.
    pub fresh: bool,
}

impl BuildOptions {
    /// Which of several bundles of these prefixes, all that there are, are to be staged.
    #[must_use]
    pub fn wanted(&self, prefixes: &[&[PrefixRecord]]) -> Vec<bool> {
        match &self.interests {
            Some(paths) => wanted(prefixes, paths),
            None => vec![true; prefixes.len()],
        }
    }

    pub(in crate::stage) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()).min(MAX_THREADS),
            n => n.min(MOST_THREADS),
        }
    }
}
