//! Names a stage by the identities of its bundles. One `stat` of each bundle tells the bundle's identity, so a second
//! job step finds the stage of the first step without reading a byte of the bundles.
#![forbid(unsafe_code)]

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bundle::Named;
use crate::error::{Error, Result};

/// Identifies a bundle. Different bundles have different identities, and a bundle whose file is replaced gets a new
/// one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The bundle's real path.
    pub path: PathBuf,
    /// Size of the bundle's file in bytes.
    pub size: u64,
    /// When the bundle's file was written, in seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Inode number of the bundle's file.
    pub ino: u64,
    /// The prefix that the command line names for the bundle.
    #[serde(default)]
    pub prefix: Option<PathBuf>,
    /// Whether the command line says that the bundle is a layer.
    #[serde(default)]
    pub layer: bool,
}

impl Identity {
    /// Gets the identity of `bundle` from the file system, without opening the bundle.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the file or the prefix is missing.
    pub fn of(bundle: &Named) -> Result<Self> {
        let failed = Error::read("bundle", &bundle.path);
        let asked =
            std::fs::canonicalize(&bundle.path).and_then(|real| Ok((real.metadata()?, real)));
        let (m, path) = asked.map_err(failed)?;
        let absolute =
            |prefix: &PathBuf| std::path::absolute(prefix).map_err(Error::read("prefix", prefix));
        let prefix = bundle.prefix.as_ref().map(absolute).transpose()?;
        let (size, mtime, ino) = (m.size(), (m.mtime(), m.mtime_nsec()), m.ino());
        Ok(Self { path, size, mtime, ino, prefix, layer: bundle.layer })
    }

    /// Whether this bundle has the same path as `old`, and another size, time or inode. The options of the command line
    /// do not count.
    #[must_use]
    pub fn replaces(&self, old: &Self) -> bool {
        let content = |of: &Self| (of.size, of.mtime, of.ino);
        self.path == old.path && content(self) != content(old)
    }
}

/// The name of a stage: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StageId(String);

impl StageId {
    /// Computes the name for `bundles` in this order, from the [`Identity`] of each. No bundle is opened.
    ///
    /// # Errors
    /// [`Error::NoInput`] when a bundle is missing.
    pub fn of_bundles(bundles: &[Named]) -> Result<Self> {
        let mut hash = blake3::Hasher::new();
        hash.update(env!("CARGO_PKG_VERSION").as_bytes());
        for bundle in bundles {
            let Identity { path, size, mtime, ino, prefix, layer } = Identity::of(bundle)?;
            hash.update(&(path.as_os_str().len() as u64).to_le_bytes());
            hash.update(path.as_os_str().as_bytes());
            for number in [size, mtime.0 as u64, mtime.1 as u64, ino] {
                hash.update(&number.to_le_bytes());
            }
            if let Some(prefix) = prefix {
                hash.update(b"prefix").update(&(prefix.as_os_str().len() as u64).to_le_bytes());
                hash.update(prefix.as_os_str().as_bytes());
            }
            if layer {
                hash.update(b"layer");
            }
        }
        Ok(Self(hash.finalize().to_hex()[..16].to_string()))
    }

    /// Parses a name.
    ///
    /// # Errors
    /// [`Error::Usage`] when `text` is not 16 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 16 && digits {
            Ok(Self(text.to_string()))
        } else {
            Err(Error::Usage(format!(
                "'{text}' is not the name of a stage: the name has 16 hexadecimal digits"
            )))
        }
    }

    /// The 16 digits as text.
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
