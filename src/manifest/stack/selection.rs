//! Selects the bundles that a job needs.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::manifest::prefix::{PrefixRecord, covers, overlap};

/// Says for each of several bundles whether it is staged for a job that uses `paths`: those that cover a path, and those
/// that overlap such a one, since without a layer or a replacement the job would see what is old.
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
