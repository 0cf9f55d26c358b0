//! Selects from many configured bundles the fewest that cover the paths that a command uses.
//!
//! The bundle of each environment usually contains the interpreter's prefix too, so all these bundles cover a path of
//! the interpreter. One of them is enough, usually the bundle of the environment in use. In addition to the bundles
//! that cover a path, these bundles are selected:
//!
//! - the lower bundles of a selected layer, and the layers over a selected bundle;
//! - whole bundles that are configured later and have a prefix inside a prefix of a selected bundle. Without such a
//!   bundle, the stage would answer with files that the bundle replaces.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::cache::prefixes::BundleSummary;
use crate::manifest::prefix::{PrefixRecord, at_or_below, overlap};

/// Selects the bundles that a command with the interests `paths` needs, and returns their positions in `bundles`. The
/// bundles are in the order in which they are laid over each other.
#[must_use]
pub fn needed_for(bundles: &[BundleSummary], paths: &[PathBuf]) -> Vec<usize> {
    let mut chosen = vec![false; bundles.len()];
    let several = paths.iter().map(|path| innermost(bundles, path));
    let several: Vec<Vec<usize>> = several.filter(|found| !found.is_empty()).collect();
    for found in several.iter().filter(|found| found.len() == 1) {
        chosen[found[0]] = true;
    }
    complete(bundles, &mut chosen);
    for found in several {
        if !found.iter().any(|one| chosen[*one]) {
            // The bundle with the fewest prefixes is chosen. Of bundles with equally many, the last is chosen, because
            // it replaces the others.
            let least = found.into_iter().rev().min_by_key(|one| bundles[*one].prefixes.len());
            least.into_iter().for_each(|one| chosen[one] = true);
            complete(bundles, &mut chosen);
        }
    }
    (0..bundles.len()).filter(|one| chosen[*one]).collect()
}

/// Finds the whole bundles whose prefix around `path` is the deepest. If no whole bundle has such a prefix, finds the
/// layers whose prefix around `path` is the deepest.
fn innermost(bundles: &[BundleSummary], path: &Path) -> Vec<usize> {
    let depth = |bundle: &BundleSummary| {
        let around = bundle.prefixes.iter().flat_map(PrefixRecord::spellings);
        around.filter(|p| path.starts_with(p)).map(|p| p.components().count()).max()
    };
    let depths: Vec<Option<usize>> = bundles.iter().map(depth).collect();
    let is_whole = |one: &usize| bundles[*one].over.is_none();
    let all = || (0..bundles.len()).filter(|one| depths[*one].is_some());
    let of = |candidates: Vec<usize>| {
        let deepest = candidates.iter().filter_map(|one| depths[*one]).max();
        candidates.into_iter().filter(|one| depths[*one] == deepest).collect::<Vec<_>>()
    };
    match of(all().filter(is_whole).collect()) {
        whole if whole.is_empty() => of(all().collect()),
        whole => whole,
    }
}

/// Adds the bundles without which the chosen bundles would be incomplete.
fn complete(bundles: &[BundleSummary], chosen: &mut [bool]) {
    loop {
        let comes_along = |one: usize| {
            let others = (0..bundles.len()).filter(|other| chosen[*other]);
            let mut others = others.filter(|other| *other != one);
            others.any(|other| {
                lies_over(bundles, one, other)
                    || lies_over(bundles, other, one)
                    || (one > other && is_inside(&bundles[one], &bundles[other]))
            })
        };
        let Some(more) = (0..bundles.len()).find(|one| !chosen[*one] && comes_along(*one)) else {
            return;
        };
        chosen[more] = true;
    }
}

/// Whether the bundle `layer` is a layer over the bundle `lower`.
fn lies_over(bundles: &[BundleSummary], layer: usize, lower: usize) -> bool {
    let Some(over) = &bundles[layer].over else { return false };
    layer > lower
        && if over.is_empty() {
            // A layer that is a foreign tar does not name its lower bundles.
            overlap(&bundles[layer].prefixes, &bundles[lower].prefixes)
        } else {
            over.contains(&bundles[lower].digest)
        }
}

/// Whether `bundle` is whole and has a prefix strictly below one of `other`'s.
fn is_inside(bundle: &BundleSummary, other: &BundleSummary) -> bool {
    let inside =
        |p: &PrefixRecord, o: &PrefixRecord| p.path != o.path && at_or_below(&p.path, &o.path);
    bundle.over.is_none()
        && bundle.prefixes.iter().any(|p| other.prefixes.iter().any(|o| inside(p, o)))
}

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::manifest::prefix::Mode;

    fn whole(digest: u8, prefixes: &[&str]) -> BundleSummary {
        let record = |path: &&str| PrefixRecord {
            path: ByteBuf::from(path.as_bytes()),
            aliases: Vec::new(),
            mode: Mode::Snapshot,
        };
        BundleSummary {
            prefixes: prefixes.iter().map(record).collect(),
            digest: [digest; 32],
            over: None,
        }
    }

    fn layer(digest: u8, prefixes: &[&str], over: &[u8]) -> BundleSummary {
        let over = over.iter().map(|digest| [*digest; 32]).collect();
        BundleSummary { over: Some(over), ..whole(digest, prefixes) }
    }

    fn of(bundles: &[BundleSummary], paths: &[&str]) -> String {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        needed_for(bundles, &paths).iter().map(usize::to_string).collect()
    }

    #[test]
    fn of_environments_with_one_base_only_the_one_in_use_is_selected() {
        let apart = [whole(0, &["/base"]), whole(1, &["/a"]), whole(2, &["/b"])];
        assert_eq!(of(&apart, &["/a/bin/python", "/base/bin/python3"]), "01");
        assert_eq!(of(&apart, &["/usr/bin"]), "");
        let each = [whole(1, &["/a", "/base"]), whole(2, &["/b", "/base"])];
        assert_eq!(of(&each, &["/base/bin/python3", "/a/bin/python"]), "0");
        assert_eq!(of(&each, &["/b", "/base/bin"]), "1");
        // For the interpreter alone one bundle is enough: the one with the fewest prefixes, else the last.
        assert_eq!(of(&each, &["/base/bin/python3"]), "1");
        let with_base = [whole(0, &["/base"]), each[0].clone(), each[1].clone()];
        assert_eq!(of(&with_base, &["/base/bin/python3"]), "0");
    }

    #[test]
    fn layers_are_selected_with_the_bundles_below_them_and_no_others() {
        let bundles = [
            whole(1, &["/a", "/base"]),
            layer(3, &["/a"], &[1]),
            whole(2, &["/b", "/base"]),
            layer(4, &["/b"], &[2]),
            layer(5, &["/a"], &[1, 3]),
        ];
        assert_eq!(of(&bundles, &["/a/bin/python", "/base/bin"]), "014");
        assert_eq!(of(&bundles, &["/b"]), "23");
        let unsaid = [whole(1, &["/a"]), layer(2, &["/a"], &[]), whole(3, &["/c"])];
        assert_eq!(of(&unsaid, &["/a/x"]), "01");
        assert_eq!(of(&unsaid[1..], &["/a/x"]), "0");
    }

    #[test]
    fn the_later_of_two_bundles_of_one_prefix_replaces_the_other() {
        let bundles = [whole(1, &["/a"]), whole(2, &["/a"])];
        assert_eq!(of(&bundles, &["/a/bin/python"]), "1");
    }

    #[test]
    fn a_later_bundle_that_replaces_a_part_of_a_selected_one_is_selected_too() {
        let bundles = [whole(1, &["/conda"]), whole(2, &["/conda/envs/b"])];
        assert_eq!(of(&bundles, &["/conda/bin"]), "01");
        assert_eq!(of(&bundles, &["/conda/envs/b/bin"]), "1");
        let swapped = [bundles[1].clone(), bundles[0].clone()];
        assert_eq!(of(&swapped, &["/conda/bin"]), "1");
    }
}
