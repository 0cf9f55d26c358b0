//! Selects the bundles that a job needs.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::manifest::prefix::{PrefixRecord, covers, overlap};

/// Returns for each bundle whether a job that uses `paths` needs the bundle. A job needs the bundles that cover one of
/// the paths. It also needs the bundles that overlap a needed bundle, because without a layer or a replacement the job
/// would see old files.
#[must_use]
pub fn wanted(bundles: &[&[PrefixRecord]], paths: &[PathBuf]) -> Vec<bool> {
    let mut wanted: Vec<bool> = bundles.iter().map(|prefixes| covers(prefixes, paths)).collect();
    loop {
        let more = (0..bundles.len()).find(|one| {
            let meets = |other: usize| wanted[other] && overlap(bundles[*one], bundles[other]);
            !wanted[*one] && (0..bundles.len()).any(meets)
        });
        match more {
            Some(one) => wanted[one] = true,
            None => return wanted,
        }
    }
}
