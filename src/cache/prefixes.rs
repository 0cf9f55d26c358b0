//! What bundles stand for, remembered from one job to the next: whether a job has to do with a bundle that is configured
//! for all of them must not cost an open of the bundle each time.
//!
//! ```text
//! <cache>/prefixes       the magic, then identities and prefixes in postcard's wire format
//! ```
//!
//! What must stay true: only a file that is still the same (real path, size, time, inode) is answered for from here. Two
//! jobs that write at the same moment may lose what one of them had learned, which costs one more open.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bundle::{Content, Named, Reader};
use crate::cache::directory;
use crate::error::Result;
use crate::manifest::prefix::PrefixRecord;
use crate::stage::Identity;

const NAME: &str = "prefixes";
const MAGIC: &[u8] = b"PYSHMPX1";
/// Bundles that are remembered; the oldest are forgotten.
const MOST: usize = 256;

type Known = Vec<(Identity, Stands)>;

/// What a bundle stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stands {
    /// Its prefixes.
    pub prefixes: Vec<PrefixRecord>,
    /// blake3 of its manifest; zero for a tar that others made.
    pub digest: [u8; 32],
    /// Of a layer the digests of what it lies over, none where it does not say; `None` for a whole bundle.
    pub over: Option<Vec<[u8; 32]>>,
}

impl Stands {
    fn read(bundle: &Named) -> Result<Self> {
        let reader = Reader::open(bundle)?;
        let prefixes = reader.prefixes().to_vec();
        let (digest, over) = match reader.content() {
            Content::Bundle(manifest) => {
                let over = manifest.layer.as_ref().map(|layer| &layer.over);
                let over = over.map(|over| over.iter().map(|below| below.digest).collect());
                (manifest.digest, over)
            }
            Content::Archive(archive) => ([0; 32], archive.layer.then(Vec::new)),
        };
        Ok(Self { prefixes, digest, over })
    }
}

/// What each of `bundles` stands for: as it is remembered, else as it says itself.
pub fn of(bundles: &[Named]) -> Vec<Result<Stands>> {
    let file = directory().ok().map(|cache| cache.join(NAME));
    let mut known = file.as_deref().and_then(read).unwrap_or_default();
    let mut learned = false;
    let mut stands = |bundle: &Named| {
        let identity = Identity::of(bundle)?;
        if let Some((_, stands)) = known.iter().find(|(of, _)| *of == identity) {
            return Ok(stands.clone());
        }
        let stands = Stands::read(bundle)?;
        known.retain(|(of, _)| !identity.replaces(of));
        known.push((identity, stands.clone()));
        learned = true;
        Ok(stands)
    };
    let found = bundles.iter().map(&mut stands).collect();
    if let (true, Some(file)) = (learned, file) {
        // Where there can be no cache the bundles are asked again.
        let _ = write(&file, &known[known.len().saturating_sub(MOST)..]);
    }
    found
}

fn read(file: &Path) -> Option<Known> {
    postcard::from_bytes(std::fs::read(file).ok()?.strip_prefix(MAGIC)?).ok()
}

fn write(file: &Path, known: &[(Identity, Stands)]) -> std::io::Result<()> {
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
    fn what_is_remembered_holds_for_the_same_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let (file, bundle) = (dir.path().join("cache/prefixes"), dir.path().join("b.tar.zst"));
        std::fs::write(&bundle, "x").unwrap();
        let before = Identity::of(&Named::file(&bundle)).unwrap();
        let stands = Stands { prefixes: Vec::new(), digest: [7; 32], over: Some(vec![[8; 32]]) };
        write(&file, &[(before.clone(), stands.clone())]).unwrap();
        assert_eq!(read(&file), Some(vec![(before.clone(), stands)]));
        std::fs::write(&bundle, "other").unwrap();
        assert_ne!(Identity::of(&Named::file(&bundle)).unwrap(), before);
        std::fs::write(&file, "PYSHMPX1 and nonsense").unwrap();
        assert_eq!(read(&file), None);
    }
}
