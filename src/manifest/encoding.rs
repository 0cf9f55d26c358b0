//! Encodes and decodes a manifest: `PYSHMMF1`, the version as a little-endian `u32`, and the structure in postcard's
//! wire format.
//!
//! From version 2 on, the extended attributes follow; version 1 recorded none. Version 3 is for layers: the record that
//! only a layer has follows at the end. Whole bundles are written as version 2.
#![forbid(unsafe_code)]

use std::path::Path;

use crate::error::{Error, Result};
use crate::manifest::document::Manifest;
use crate::manifest::error::ManifestError;

/// The first bytes of a manifest.
pub const MAGIC: [u8; 8] = *b"PYSHMMF1";
/// The newest version of the structure.
pub const VERSION: u32 = 3;
/// The last version without layers.
const VERSION_WHOLE: u32 = 2;
/// Name of the tar member that holds the manifest.
pub const MEMBER: &str = ".pyshm/manifest";

impl Manifest {
    /// Encodes the manifest.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let version = if self.layer.is_some() { VERSION } else { VERSION_WHOLE };
        bytes.extend_from_slice(&version.to_le_bytes());
        postcard::to_extend(self, bytes)
            .and_then(|bytes| postcard::to_extend(&self.xattrs, bytes))
            .and_then(|bytes| match &self.layer {
                Some(layer) => postcard::to_extend(layer, bytes),
                None => Ok(bytes),
            })
            .expect("a manifest has only types that postcard writes")
    }

    /// Decodes and checks a manifest.
    ///
    /// # Errors
    /// The rule that `bytes` break.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest = Self::parse_tree(bytes)?;
        manifest.check_data()?;
        Ok(manifest)
    }

    /// Decodes a manifest and checks its paths. The places of the data are not checked, because the manifest of a
    /// foreign tar does not record them.
    pub(crate) fn parse_tree(bytes: &[u8]) -> Result<Self, ManifestError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(ManifestError::Foreign)?;
        let (version, body) = rest.split_first_chunk::<4>().ok_or(ManifestError::Truncated)?;
        let version = u32::from_le_bytes(*version);
        if !(1..=VERSION).contains(&version) {
            return Err(ManifestError::UnknownVersion(version));
        }
        let (mut manifest, rest): (Self, _) = postcard::take_from_bytes(body)?;
        if version > 1 {
            let (xattrs, rest) = postcard::take_from_bytes(rest)?;
            manifest.xattrs = xattrs;
            if version > VERSION_WHOLE {
                manifest.layer = Some(postcard::from_bytes(rest)?);
            }
        }
        manifest.check_tree()?;
        manifest.digest = *blake3::hash(bytes).as_bytes();
        Ok(manifest)
    }

    /// Writes the manifest to a file of its own.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] with the file's path.
    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.to_bytes()).map_err(Error::write(path))
    }

    /// Reads a manifest that [`Manifest::write`] wrote.
    ///
    /// # Errors
    /// [`Error::NoInput`] or [`Error::BadBundle`] with the file's path.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::read("manifest", path))?;
        Self::parse(&bytes).map_err(|reason| Error::bundle(path, reason))
    }
}
