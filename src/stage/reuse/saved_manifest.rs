//! The manifests of a stage's bundles, kept in the stage so that another one can be made from it.
//!
//! Their digests stand in `stage.json`, so that neither damage nor an exchange passes for what a bundle held.
#![forbid(unsafe_code)]

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use pyshm_format::layout;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::stage::{Identity, ownership};

/// Little is gained by more.
const LEVEL: i32 = 1;

/// One bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What the bundle was.
    pub identity: Identity,
    /// Of the manifest's file; empty where there is none, as the stage has not all of the bundle.
    pub digest: String,
    /// Of the manifest as the bundle has it, which layers over it name.
    #[serde(default)]
    pub named: String,
}

/// Writes the manifest of the bundle `number` of the stage in `dir`.
pub(in crate::stage) fn write(
    dir: &Path,
    number: usize,
    identity: Identity,
    manifest: &Manifest,
) -> Result<Kept> {
    let path = file(dir, number);
    let parent = path.parent().unwrap_or(dir);
    let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(parent);
    let packed = made.and_then(|()| zstd::bulk::compress(&manifest.to_bytes(), LEVEL));
    let packed = packed.map_err(Error::write(&path))?;
    std::fs::write(&path, &packed).map_err(Error::write(&path))?;
    let named = blake3::Hash::from(manifest.digest).to_hex().to_string();
    Ok(Kept { identity, digest: digest(&packed), named })
}

/// Reads it; `None` when there is none, or it is not as it was written.
pub(in crate::stage) fn read(dir: &Path, number: usize, kept: &Kept) -> Option<Manifest> {
    if kept.digest.is_empty() {
        return None;
    }
    let path = file(dir, number);
    ownership::directory(path.parent()?, 0o022).ok()?.then_some(())?;
    let packed = ownership::read(&path).ok()?;
    if digest(&packed) != kept.digest {
        return None;
    }
    let mut manifest = Manifest::parse_tree(&zstd::decode_all(&packed[..]).ok()?).ok()?;
    // The version in which it was kept may be another one than the bundle's.
    manifest.digest = *blake3::Hash::from_hex(&kept.named).ok()?.as_bytes();
    Some(manifest)
}

fn file(dir: &Path, number: usize) -> PathBuf {
    dir.join(layout::MANIFESTS).join(number.to_string())
}

/// With the version: another one may lay a stage out in another way.
fn digest(packed: &[u8]) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(env!("CARGO_PKG_VERSION").as_bytes()).update(packed);
    hash.finalize().to_hex().to_string()
}
