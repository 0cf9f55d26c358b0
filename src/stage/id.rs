//! The name of a stage: it says which bundles, known by a `stat` of each, so that a second job step finds what the
//! first one staged without reading a byte.
#![forbid(unsafe_code)]

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bundle::Named;
use crate::error::{Error, Result};

/// What tells a bundle from another one, and from what it was before it was made anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its real path.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// When it was written: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Its inode.
    pub ino: u64,
    /// The prefix that was said for it.
    #[serde(default)]
    pub prefix: Option<PathBuf>,
    /// It was said to be a layer.
    #[serde(default)]
    pub layer: bool,
}

impl Identity {
    /// Asks the file system; the bundle is not opened.
    ///
    /// # Errors
    /// [`Error::NoInput`] for a bundle that is not there.
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

    /// Whether this is the same file, but with other content; whatever is said of it.
    #[must_use]
    pub fn replaces(&self, old: &Self) -> bool {
        let content = |of: &Self| (of.size, of.mtime, of.ino);
        self.path == old.path && content(self) != content(old)
    }
}

/// 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StageId(String);

impl StageId {
    /// The name for these bundles, in this order: real path, size, modification time and inode of each, and what is
    /// said of it. Bundles are not opened.
    ///
    /// # Errors
    /// [`Error::NoInput`] for a bundle that is not there.
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
