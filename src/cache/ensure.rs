//! Finds the bundle of a prefix in the cache, or packs it.
#![forbid(unsafe_code)]

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::bundle::{PackOptions, PrefixSpec, pack};
use crate::cache::directory::{cap, directory};
use crate::cache::entry::{Entry, UseMark};
use crate::cache::lock::Lock;
use crate::cache::prune::{PruneOptions, prune};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::manifest::prefix::Mode;
use crate::progress::Progress;

/// The most attempts to pack a prefix that changes while it is packed.
const ATTEMPTS: u32 = 3;

/// A bundle in the cache.
#[derive(Debug)]
pub struct Cached {
    /// The bundle's file.
    pub bundle: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// Whether this call packed the bundle.
    pub made: bool,
    /// Keeps the entry from being pruned until this mark is dropped.
    pub using: UseMark,
}

/// Returns the bundle of `prefix`. Packs the prefix if the cache has no bundle of it, or if the prefix has changed. If
/// several processes on any nodes call this function at the same time, one of them packs and the others wait. `say`
/// receives messages for the user.
///
/// # Errors
/// [`Error::TryAgain`] when the prefix does not stop changing, and the errors of [`pack`].
pub fn ensure(prefix: &Path, progress: Progress, say: &dyn Fn(&str)) -> Result<Cached> {
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
    // Another process may have packed the bundle while this one waited.
    if let Some(cached) = fresh(&entry)? {
        return Ok(cached);
    }
    say(&format!("making the bundle of {} for this and later jobs", prefix.display()));
    let manifest = make(&entry, prefix, progress)?;
    let using = entry.mark_used()?;
    drop(lock);
    let options = PruneOptions { cap: Some(cap()), ..PruneOptions::default() };
    // A cache that cannot be pruned is no reason to fail.
    let _ = prune(&cache, &options);
    Ok(Cached { bundle: entry.bundle(), manifest, made: true, using })
}

/// Returns the entry's bundle if its prefix has not changed since it was packed.
fn fresh(entry: &Entry) -> Result<Option<Cached>> {
    // The mark is set before the comparison, so that no other process prunes the entry during it.
    let using = entry.mark_used()?;
    let Ok(manifest) = Manifest::read(&entry.manifest()) else { return Ok(None) };
    if !entry.bundle().exists() || manifest.first_change()?.is_some() {
        return Ok(None);
    }
    entry.touch();
    Ok(Some(Cached { bundle: entry.bundle(), manifest, made: false, using }))
}

/// Packs the prefix into the entry.
fn make(entry: &Entry, prefix: &Path, progress: Progress) -> Result<Manifest> {
    let specs = [PrefixSpec { path: prefix.to_path_buf(), mode: Mode::Snapshot }];
    let unfinished = entry.unfinished();
    let options = PackOptions { level: None, progress };
    let mut attempt = 1;
    let report = loop {
        match pack(&specs, unfinished.path(), &options) {
            Err(Error::TryAgain(_)) if attempt < ATTEMPTS => attempt += 1,
            result => break result?,
        }
    };
    unfinished.publish(&entry.bundle())?;
    entry.describe(prefix, &report)?;
    let manifest = entry.unfinished();
    report.manifest.write(manifest.path())?;
    manifest.publish(&entry.manifest())?;
    entry.touch();
    Ok(report.manifest)
}
