//! What the environment's variables ask for. Nonsense in one is said by its name before anything is done, instead of
//! being taken for the default.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::cache;
use crate::error::{Error, Result};
use crate::run::pays;

/// Where stages lie unless `--root` or `PYSHM_ROOT` says otherwise.
pub const ROOT: &str = "/dev/shm";
/// Seconds of [`wait`] by default.
const WAIT: u64 = 300;

/// A variable that is set and not empty.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The default of `--root`: `PYSHM_ROOT`, else `/dev/shm`.
#[must_use]
pub fn root() -> PathBuf {
    variable("PYSHM_ROOT").map_or_else(|| ROOT.into(), PathBuf::from)
}

/// `PYSHM_WAIT`: how long MPI, or the rank that stages, is waited for.
///
/// # Errors
/// [`Error::Usage`] when it is no whole number of seconds.
pub fn wait() -> Result<Duration> {
    let Some(value) = variable("PYSHM_WAIT") else { return Ok(Duration::from_secs(WAIT)) };
    let seconds = value.to_str().and_then(|text| text.trim().parse().ok());
    seconds.map(Duration::from_secs).ok_or_else(|| {
        nonsense("PYSHM_WAIT", &value, "is no number of seconds: write it as 300, or unset it")
    })
}

/// `PYSHM_RESERVE`: what stays free for MPI and the application; `None` where the default counts.
///
/// # Errors
/// As [`size`].
pub fn reserve() -> Result<Option<u64>> {
    size("PYSHM_RESERVE")
}

/// A variable that is a size, as `500M`; `None` where it is not set.
///
/// # Errors
/// [`Error::Usage`] for anything else.
pub fn size(name: &str) -> Result<Option<u64>> {
    let Some(value) = variable(name) else { return Ok(None) };
    match value.to_str().map(cache::parse_size) {
        Some(Ok(size)) => Ok(Some(size)),
        _ => Err(nonsense(name, &value, "is no size: write it as 500M or 20GB, or unset it")),
    }
}

/// Checks all of them.
///
/// # Errors
/// [`Error::Usage`] names the first one that is nonsense.
pub fn check() -> Result<()> {
    for name in ["PYSHM_ROOT", "PYSHM_CACHE"] {
        if let Some(value) = variable(name).filter(|value| !PathBuf::from(value).is_absolute()) {
            return Err(nonsense(
                name,
                &value,
                "is no absolute path: write it from / on, or unset it",
            ));
        }
    }
    wait()?;
    reserve()?;
    cache::cap()?;
    pays::serial_read().map(drop)
}

fn nonsense(name: &str, value: &OsString, why: &str) -> Error {
    Error::Usage(format!("{name} is '{}', which {why}", value.display()))
}
