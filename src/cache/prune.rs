//! Lists the entries of the cache, and prunes the cache. The least recently used entries are removed first. An entry in
//! use is never removed.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cache::entry::{Entry, EntryInfo};
use crate::error::{Error, Result};

/// What to remove.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Remove every entry that is not in use.
    pub all: bool,
    /// Remove entries that were not used for this many days.
    pub older_than_days: Option<f64>,
    /// Remove the least recently used entries until at most this many bytes are left.
    pub cap: Option<u64>,
}

/// Lists the entries of the cache in `directory`, the least recently used first; none when there is no cache.
///
/// # Errors
/// [`Error::NoInput`] when the directory cannot be read.
pub fn list(directory: &Path) -> Result<Vec<EntryInfo>> {
    let names = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(Error::read("cache", directory))?,
    };
    let mut entries: Vec<_> =
        names.flatten().filter_map(|n| Entry { dir: n.path() }.info()).collect();
    entries.sort_by_key(|e| e.used);
    Ok(entries)
}

/// Removes entries from the cache in `directory` as `options` say, and returns them.
///
/// # Errors
/// [`Error::CannotWrite`] when an entry cannot be removed.
pub fn prune(directory: &Path, options: &PruneOptions) -> Result<Vec<EntryInfo>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let entries = list(directory)?;
    let mut left: u64 = entries.iter().map(|e| e.bytes).sum();
    let mut removed = Vec::new();
    for entry in entries {
        let idle_days = now.saturating_sub(entry.used) as f64 / 86_400.0;
        let old = options.older_than_days.is_some_and(|days| idle_days >= days);
        let too_much = options.cap.is_some_and(|cap| left > cap);
        if entry.busy || !(options.all || old || too_much) {
            continue;
        }
        remove(&directory.join(&entry.name))?;
        left -= entry.bytes;
        removed.push(entry);
    }
    Ok(removed)
}

/// Removes an entry. The manifest is removed first, because a directory without a manifest is not used as an entry.
fn remove(dir: &Path) -> Result<()> {
    let _ = std::fs::remove_file(Entry { dir: dir.to_path_buf() }.manifest());
    std::fs::remove_dir_all(dir).map_err(Error::write(dir))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    /// Makes an entry with `bytes` bytes that was used `days` ago.
    fn entry(cache: &Path, name: &str, bytes: usize, days: u64) -> PathBuf {
        let dir = cache.join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("bundle.tar.zst"), vec![0; bytes]).unwrap();
        let info = r#"{"prefix": "/x", "bytes": 0, "raw_bytes": 1, "entries": 1, "created": 1}"#;
        std::fs::write(dir.join("info.json"), info).unwrap();
        std::fs::write(dir.join("used"), "").unwrap();
        let used = SystemTime::now() - Duration::from_secs(days * 86_400);
        std::fs::File::options()
            .write(true)
            .open(dir.join("used"))
            .unwrap()
            .set_modified(used)
            .unwrap();
        dir
    }

    fn names(removed: &[EntryInfo]) -> Vec<&str> {
        removed.iter().map(|e| e.name.as_str()).collect()
    }

    #[test]
    fn the_least_recently_used_entries_go_until_the_rest_fits() {
        let cache = tempfile::tempdir().unwrap();
        entry(cache.path(), "new", 100, 1);
        entry(cache.path(), "old", 100, 9);
        entry(cache.path(), "middle", 100, 5);
        let options = PruneOptions { cap: Some(150), ..PruneOptions::default() };
        assert_eq!(names(&prune(cache.path(), &options).unwrap()), ["old", "middle"]);
        assert_eq!(names(&list(cache.path()).unwrap()), ["new"]);
    }

    #[test]
    fn only_entries_that_were_idle_long_enough_go() {
        let cache = tempfile::tempdir().unwrap();
        entry(cache.path(), "new", 1, 1);
        entry(cache.path(), "old", 1, 9);
        let options = PruneOptions { older_than_days: Some(7.0), ..PruneOptions::default() };
        assert_eq!(names(&prune(cache.path(), &options).unwrap()), ["old"]);
    }

    #[test]
    fn an_entry_in_use_stays() {
        let cache = tempfile::tempdir().unwrap();
        let dir = entry(cache.path(), "busy", 1, 9);
        let all = PruneOptions { all: true, ..PruneOptions::default() };
        let mark = Entry { dir: dir.clone() }.mark_used().unwrap();
        assert!(prune(cache.path(), &all).unwrap().is_empty());
        drop(mark);
        std::fs::write(dir.join("lock"), "someone").unwrap();
        assert!(prune(cache.path(), &all).unwrap().is_empty());
        std::fs::remove_file(dir.join("lock")).unwrap();
        assert_eq!(names(&prune(cache.path(), &all).unwrap()), ["busy"]);
    }

    #[test]
    fn a_missing_cache_is_listed_as_empty() {
        assert!(list(Path::new("/no/such/cache")).unwrap().is_empty());
    }
}
