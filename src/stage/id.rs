//! The name of a stage: it says which bundles, known by a `stat` of each, so that a second job step finds what the
//! first one staged without reading a byte.
#![forbid(unsafe_code)]

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StageId(String);

impl StageId {
    /// The name for these bundles, in this order: real path, size, modification time and inode of each. Bundles are
    /// not opened.
    ///
    /// # Errors
    /// [`Error::NoInput`] for a bundle that is not there.
    pub fn of_bundles(bundles: &[PathBuf]) -> Result<Self> {
        let mut hash = blake3::Hasher::new();
        hash.update(env!("CARGO_PKG_VERSION").as_bytes());
        for bundle in bundles {
            let failed = |cause| Error::NoInput { what: "bundle", path: bundle.clone(), cause };
            let real = std::fs::canonicalize(bundle).map_err(failed)?;
            let m = std::fs::metadata(&real).map_err(failed)?;
            hash.update(&(real.as_os_str().len() as u64).to_le_bytes());
            hash.update(real.as_os_str().as_bytes());
            for number in [m.size(), m.mtime() as u64, m.mtime_nsec() as u64, m.ino()] {
                hash.update(&number.to_le_bytes());
            }
        }
        Ok(Self(hash.finalize().to_hex()[..16].to_string()))
    }

    /// Reads a name.
    ///
    /// # Errors
    /// [`Error::Usage`] for anything but 16 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match text.len() == 16 && digits {
            true => Ok(Self(text.to_string())),
            false => Err(Error::Usage(format!(
                "'{text}' is no stage: a stage has 16 hexadecimal digits"
            ))),
        }
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
