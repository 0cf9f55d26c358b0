//! Remembers which prefixes each bundle covers, so that a job need not open a configured bundle to learn whether the
//! job uses it.
//!
//! ```text
//! <cache>/prefixes       the magic, then identities and summaries in postcard's wire format
//! ```
//!
//! Invariants: a summary is used only if the bundle file is still the same (real path, size, time, inode).
//!
//! If two jobs write at the same moment, one may lose its new summaries; a later job then opens these bundles again.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::archive::Scope;
use crate::bundle::{Content, Named, Reader};
use crate::cache::directory::directory;
use crate::error::Result;
use crate::manifest::prefix::PrefixRecord;
use crate::stage::Identity;

const NAME: &str = "prefixes";
const MAGIC: &[u8] = b"PYSHMPX1";
/// The most bundles that are remembered. Beyond this number the oldest are forgotten.
const MOST: usize = 256;

type Known = Vec<(Identity, BundleSummary)>;

/// The prefixes of a bundle, and the bundles that it lies over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleSummary {
    /// Its prefixes.
    pub prefixes: Vec<PrefixRecord>,
    /// blake3 of its manifest; zero for a foreign tar.
    pub digest: [u8; 32],
    /// For a layer, the digests of the bundles that it was packed over; empty where the layer does not name these
    /// bundles. `None` for a whole bundle.
    pub over: Option<Vec<[u8; 32]>>,
}

impl BundleSummary {
    fn read(bundle: &Named) -> Result<Self> {
        let reader = Reader::open(bundle)?;
        let prefixes = reader.prefixes().to_vec();
        let (digest, over) = match reader.content() {
            Content::Bundle(manifest) => {
                let over = manifest.layer.as_ref().map(|layer| &layer.over);
                let over = over.map(|over| over.iter().map(|below| below.digest).collect());
                (manifest.digest, over)
            }
            Content::Archive(archive) => ([0; 32], (archive.scope == Scope::Layer).then(Vec::new)),
        };
        Ok(Self { prefixes, digest, over })
    }
}

/// Returns the summary of each bundle: the remembered one if the file is still the same, else a new one from the
/// bundle.
pub fn summaries(bundles: &[Named]) -> Vec<Result<BundleSummary>> {
    let file = directory().ok().map(|cache| cache.join(NAME));
    let mut known = file.as_deref().and_then(read).unwrap_or_default();
    let mut learned = false;
    let mut summary = |bundle: &Named| {
        let identity = Identity::of(bundle)?;
        if let Some((_, summary)) = known.iter().find(|(of, _)| *of == identity) {
            return Ok(summary.clone());
        }
        let summary = BundleSummary::read(bundle)?;
        known.retain(|(of, _)| !identity.replaces(of));
        known.push((identity, summary.clone()));
        learned = true;
        Ok(summary)
    };
    let found = bundles.iter().map(&mut summary).collect();
    if let (true, Some(file)) = (learned, file) {
        // Without a cache the next job opens the bundles again.
        let _ = write(&file, &known[known.len().saturating_sub(MOST)..]);
    }
    found
}

fn read(file: &Path) -> Option<Known> {
    postcard::from_bytes(std::fs::read(file).ok()?.strip_prefix(MAGIC)?).ok()
}

fn write(file: &Path, known: &[(Identity, BundleSummary)]) -> std::io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(directory)?;
    let bytes = postcard::to_extend(known, MAGIC.to_vec()).map_err(std::io::Error::other)?;
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(&bytes)?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_remembered_for_the_same_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let (file, bundle) = (dir.path().join("cache/prefixes"), dir.path().join("b.tar.zst"));
        std::fs::write(&bundle, "x").unwrap();
        let before = Identity::of(&Named::file(&bundle)).unwrap();
        let over = Some(vec![[8; 32]]);
        let summary = BundleSummary { prefixes: Vec::new(), digest: [7; 32], over };
        write(&file, &[(before.clone(), summary.clone())]).unwrap();
        assert_eq!(read(&file), Some(vec![(before.clone(), summary)]));
        std::fs::write(&bundle, "other").unwrap();
        assert_ne!(Identity::of(&Named::file(&bundle)).unwrap(), before);
        std::fs::write(&file, "PYSHMPX1 and nonsense").unwrap();
        assert_eq!(read(&file), None);
    }
}
