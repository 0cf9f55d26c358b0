//! Bundles that were made by themselves, kept beside the user's other caches: one entry for each prefix.
//!
//! ```text
//! <cache>/<name>-<hash of the prefix>/
//!     bundle.tar.zst     the bundle
//!     manifest           a copy of its manifest, so that neither freshness nor coverage opens the bundle
//!     info.json          prefix, sizes, tool
//!     used               its modification time says when the entry was last used
//!     use-<host>-<pid>   someone reads the bundle now
//!     lock               someone makes the bundle now, see [`lock`]
//! <cache>/prefixes       what bundles stand for that are configured, see [`prefixes`]
//! ```
//!
//! The cache usually lies on the shared file system, where `flock` cannot be trusted: files are published by rename,
//! the bundle before its manifest, so that a manifest that is fresh never describes an older bundle.
#![forbid(unsafe_code)]

mod entry;
mod lock;
pub mod prefixes;
mod prune;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::bundle::{PackOptions, PrefixSpec, pack};
use crate::cache::entry::Entry;
pub use crate::cache::entry::{EntryInfo, Use};
use crate::cache::lock::Lock;
pub use crate::cache::prune::{PruneOptions, list, prune};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::manifest::prefix::Mode;
use crate::{settings, text};

/// How often a prefix that changes while it is packed is packed again.
const ATTEMPTS: u32 = 3;

/// The cache's directory: what the settings say, else `$XDG_CACHE_HOME/pyshm`, else `~/.cache/pyshm`.
///
/// # Errors
/// [`Error::Usage`] when none of these variables is set to an absolute path.
pub fn directory() -> Result<PathBuf> {
    let variable = |name: &str| settings::variable(name).map(PathBuf::from);
    let found = settings::cache()
        .or_else(|| variable("XDG_CACHE_HOME").map(|d| d.join("pyshm")))
        .or_else(|| variable("HOME").map(|d| d.join(".cache/pyshm")));
    let missing = || {
        Error::Usage(
            "failed to find the cache's directory: set PYSHM_CACHE or HOME to an absolute path"
                .into(),
        )
    };
    found.filter(|d| d.is_absolute()).ok_or_else(missing)
}

/// The cap on the cache's size in bytes.
#[must_use]
pub fn cap() -> u64 {
    settings::size(&settings::table::CACHE_MAX).unwrap_or(u64::MAX)
}

/// A bundle in the cache.
#[derive(Debug)]
pub struct Cached {
    /// The bundle.
    pub bundle: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Whether it had to be made now.
    pub made: bool,
    /// Keeps it from being pruned while it is read.
    pub using: Use,
}

/// The bundle of `prefix`, made if it is not there or the prefix has changed. Of many who ask at once, on whatever
/// nodes, one makes it and the others wait. `say` receives what people should know meanwhile.
///
/// # Errors
/// [`Error::TryAgain`] when the prefix does not stop changing, and what [`pack`] says.
pub fn ensure(prefix: &Path, quiet: bool, say: &dyn Fn(&str)) -> Result<Cached> {
    let cache = directory()?;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&cache)
        .map_err(Error::write(&cache))?;
    let entry = Entry::of(&cache, prefix)?;
    if let Some(cached) = fresh(&entry)? {
        return Ok(cached);
    }
    let lock = Lock::take(&entry.dir, &|holder| {
        say(&format!("waiting for {holder}, which makes the bundle of {}", prefix.display()));
    })?;
    // Another one may have made it while this one waited.
    if let Some(cached) = fresh(&entry)? {
        return Ok(cached);
    }
    say(&format!("making the bundle of {} for this and later jobs", prefix.display()));
    let manifest = make(&entry, prefix, quiet)?;
    let using = entry.using()?;
    drop(lock);
    let options = PruneOptions { cap: Some(cap()), ..PruneOptions::default() };
    // A cache that cannot be pruned is no reason to fail.
    let _ = prune(&cache, &options);
    Ok(Cached { bundle: entry.bundle(), manifest, made: true, using })
}

/// The entry's bundle if its prefix is as it was when it was packed.
fn fresh(entry: &Entry) -> Result<Option<Cached>> {
    // First of all, so that nobody prunes what is being looked at.
    let using = entry.using()?;
    let Ok(manifest) = Manifest::read(&entry.manifest()) else { return Ok(None) };
    if !entry.bundle().exists() || manifest.changed()?.is_some() {
        return Ok(None);
    }
    entry.touch();
    Ok(Some(Cached { bundle: entry.bundle(), manifest, made: false, using }))
}

fn make(entry: &Entry, prefix: &Path, quiet: bool) -> Result<Manifest> {
    let specs = [PrefixSpec { path: prefix.to_path_buf(), mode: Mode::Snapshot }];
    let temporary = entry.temporary();
    let options = PackOptions { level: None, quiet };
    let mut attempt = 1;
    let report = loop {
        match pack(&specs, temporary.path(), &options) {
            Err(Error::TryAgain(_)) if attempt < ATTEMPTS => attempt += 1,
            result => break result?,
        }
    };
    temporary.publish(&entry.bundle())?;
    entry.describe(prefix, &report)?;
    let manifest = entry.temporary();
    report.manifest.write(manifest.path())?;
    manifest.publish(&entry.manifest())?;
    entry.touch();
    Ok(report.manifest)
}

/// The name of a prefix's entry.
fn entry_name(prefix: &Path) -> String {
    let name: String = prefix
        .file_name()
        .map(|n| {
            n.to_string_lossy()
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
                .take(40)
                .collect()
        })
        .unwrap_or_default();
    let hash = blake3::hash(prefix.as_os_str().as_bytes()).to_hex();
    format!("{name}-{}", &hash[..16])
}

/// A line for people about an entry that was made.
#[must_use]
pub fn describe(info: &EntryInfo) -> String {
    format!("{}: {} for {}", info.name, text::bytes(info.bytes), info.prefix.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_one_name_have_entries_of_their_own() {
        let (a, b) = (entry_name(Path::new("/a/env")), entry_name(Path::new("/b/env")));
        assert!(a.starts_with("env-") && b.starts_with("env-") && a != b);
    }
}
