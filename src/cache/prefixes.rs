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
use std::path::{Path, PathBuf};

use serde_bytes::ByteBuf;

use super::directory;
use crate::bundle::manifest::PrefixRecord;
use crate::bundle::{Mode, Named, Reader};
use crate::error::{Error, Result};
use crate::stage::Identity;

const NAME: &str = "prefixes";
const MAGIC: &[u8] = b"PYSHMPX1";
/// Bundles that are remembered; the oldest are forgotten.
const MOST: usize = 256;

type Known = Vec<(Identity, Vec<PrefixRecord>)>;

/// What each of `bundles` stands for: what was said of it, what is remembered of it, or what it says itself.
pub fn of(bundles: &[Named]) -> Vec<Result<Vec<PrefixRecord>>> {
    let file = directory().ok().map(|cache| cache.join(NAME));
    let mut known = None;
    let mut learned = false;
    let mut prefixes = |bundle: &Named| {
        let identity = Identity::of(bundle)?;
        if let Some(prefix) = &bundle.prefix {
            return said(prefix).map(|said| vec![said]);
        }
        let known = known.get_or_insert_with(|| file.as_deref().and_then(read).unwrap_or_default());
        if let Some((_, prefixes)) = known.iter().find(|(of, _)| *of == identity) {
            return Ok(prefixes.clone());
        }
        let prefixes = Reader::open(bundle)?.prefixes().to_vec();
        known.retain(|(of, _)| of.path != identity.path);
        known.push((identity, prefixes.clone()));
        learned = true;
        Ok(prefixes)
    };
    let found = bundles.iter().map(&mut prefixes).collect();
    if let (true, Some(known), Some(file)) = (learned, known, file) {
        // Where there can be no cache the bundles are asked again.
        let _ = write(&file, &known[known.len().saturating_sub(MOST)..]);
    }
    found
}

/// The prefix that was said for a bundle, and its real path.
fn said(prefix: &Path) -> Result<PrefixRecord> {
    let absolute = std::path::absolute(prefix).map_err(Error::read("prefix", prefix))?;
    let real = std::fs::canonicalize(&absolute).unwrap_or_else(|_| absolute.clone());
    let bytes = |path: &PathBuf| ByteBuf::from(path.as_os_str().as_encoded_bytes());
    let aliases = if real == absolute { Vec::new() } else { vec![bytes(&absolute)] };
    Ok(PrefixRecord { path: bytes(&real), aliases, mode: Mode::Snapshot })
}

fn read(file: &Path) -> Option<Known> {
    postcard::from_bytes(std::fs::read(file).ok()?.strip_prefix(MAGIC)?).ok()
}

fn write(file: &Path, known: &[(Identity, Vec<PrefixRecord>)]) -> std::io::Result<()> {
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
        let (before, prefix) = (Identity::of(&Named::file(&bundle)).unwrap(), said(dir.path()));
        write(&file, &[(before.clone(), vec![prefix.unwrap()])]).unwrap();
        let known = read(&file).unwrap();
        assert_eq!(known[0].1[0].path(), std::fs::canonicalize(dir.path()).unwrap());
        assert_eq!(Identity::of(&Named::file(&bundle)).unwrap(), known[0].0);
        std::fs::write(&bundle, "other").unwrap();
        assert_ne!(Identity::of(&Named::file(&bundle)).unwrap(), known[0].0);
        std::fs::write(&file, "PYSHMPX1 and nonsense").unwrap();
        assert!(read(&file).is_none());
    }

    #[test]
    fn a_prefix_that_was_said_is_believed_without_a_look_into_the_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let (bundle, prefix) = (dir.path().join("any.tar"), dir.path().join("env"));
        let named = Named { prefix: Some(prefix.clone()), ..Named::file(&bundle) };
        assert!(of(std::slice::from_ref(&named))[0].is_err(), "it is not there");
        std::fs::write(&bundle, "no tar at all").unwrap();
        assert!(of(&[named])[0].as_ref().unwrap()[0].spellings().any(|s| s == prefix));
    }
}
