//! Finds the directory of the cache, and how large the cache may become.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::settings;

/// Returns the cache's directory: the one in the settings, else `$XDG_CACHE_HOME/pyshm`, else `~/.cache/pyshm`.
///
/// # Errors
/// [`Error::Usage`] when none of these is set, or when the first one that is set is not an absolute path.
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

/// The largest size of the cache, in bytes.
#[must_use]
pub fn cap() -> u64 {
    settings::size(&settings::table::CACHE_MAX).unwrap_or(u64::MAX)
}
