//! Makes the names of files in the cache.
#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// An entry's lock.
pub(super) const LOCK: &str = "lock";
/// The beginning of the name of a use file. A process makes one in an entry while it reads the entry's bundle.
pub(super) const USE: &str = "use-";
/// The beginning of the name of an unfinished file.
pub(super) const UNFINISHED: &str = ".new-";

/// Returns the name of a prefix's entry; `prefix` is its real path.
pub(super) fn of_entry(prefix: &Path) -> String {
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

/// Makes a name that no other process of the cluster uses.
pub(super) fn unique(start: &str, end: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let host = rustix::system::uname().nodename().to_string_lossy().replace('/', "_");
    let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let nanos =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    format!("{start}{host}-{pid}-{count}-{nanos:x}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_with_the_same_name_have_different_entries() {
        let (a, b) = (of_entry(Path::new("/a/env")), of_entry(Path::new("/b/env")));
        assert!(a.starts_with("env-") && b.starts_with("env-") && a != b);
    }
}
