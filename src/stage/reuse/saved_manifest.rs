//! Saves the manifest of each bundle in the stage, so that later stages can take the bundle from this stage.
//!
//! `stage.json` has the digest of each saved manifest, so that a damaged or exchanged manifest is not used.
#![forbid(unsafe_code)]

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use pyshm_format::layout;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::stage::id::Identity;
use crate::stage::ownership;

/// The compression level of zstd; higher levels save little space.
const LEVEL: i32 = 1;

/// A bundle's saved manifest, as `stage.json` describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedManifest {
    /// Identity of the bundle at the time of staging.
    pub identity: Identity,
    /// Digest of the manifest's file. It is empty if no manifest is saved because the stage does not have the whole
    /// bundle.
    pub digest: String,
    /// Digest of the manifest in the bundle itself. Layers name the bundles below them by this digest.
    #[serde(default)]
    pub in_bundle: String,
}

/// Saves the manifest of the bundle with this number in the stage in `dir`.
///
/// # Errors
/// [`Error::CannotWrite`].
pub(in crate::stage) fn write(
    dir: &Path,
    number: usize,
    identity: Identity,
    manifest: &Manifest,
) -> Result<SavedManifest> {
    let path = file(dir, number);
    let parent = path.parent().unwrap_or(dir);
    let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(parent);
    let packed = made.and_then(|()| zstd::bulk::compress(&manifest.to_bytes(), LEVEL));
    let packed = packed.map_err(Error::write(&path))?;
    std::fs::write(&path, &packed).map_err(Error::write(&path))?;
    let in_bundle = blake3::Hash::from(manifest.digest).to_hex().to_string();
    Ok(SavedManifest { identity, digest: digest(&packed), in_bundle })
}

/// Reads the saved manifest of the bundle with this number; `None` if no manifest is saved, or if it has changed.
pub(super) fn read(dir: &Path, number: usize, saved: &SavedManifest) -> Option<Manifest> {
    if saved.digest.is_empty() {
        return None;
    }
    let path = file(dir, number);
    ownership::directory(path.parent()?, 0o022).ok()?.then_some(())?;
    let packed = ownership::read(&path).ok()?;
    if digest(&packed) != saved.digest {
        return None;
    }
    let mut manifest = Manifest::parse_tree(&zstd::decode_all(&packed[..]).ok()?).ok()?;
    // The saved copy may have another format version than the manifest in the bundle, and so another digest.
    manifest.digest = *blake3::Hash::from_hex(&saved.in_bundle).ok()?.as_bytes();
    Some(manifest)
}

fn file(dir: &Path, number: usize) -> PathBuf {
    dir.join(layout::MANIFESTS).join(number.to_string())
}

/// The digest of a saved manifest together with pyshm's version, since another version may lay a stage out differently.
fn digest(packed: &[u8]) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(env!("CARGO_PKG_VERSION").as_bytes()).update(packed);
    hash.finalize().to_hex().to_string()
}
