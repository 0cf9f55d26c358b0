//! What the environment's variables ask for. Nonsense in one is said by its name before anything is done, instead of
//! being taken for the default.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use pyshm_format::launch;

use crate::bundle::Named;
use crate::cache;
use crate::error::{Error, Result};
use crate::run::pays;

/// Where stages lie unless `--root` or `PYSHM_ROOT` says otherwise.
pub const ROOT: &str = "/dev/shm";
/// Seconds of [`wait`] by default.
const WAIT: u64 = 300;

/// The default of `--chunk`. Smaller ones cost bandwidth, larger ones memory: eight of them.
pub const CHUNK: &str = "4MiB";

/// A variable that is set and not empty.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The default of `--root`: `PYSHM_ROOT`, else `/dev/shm`.
#[must_use]
pub fn root() -> PathBuf {
    variable("PYSHM_ROOT").map_or_else(|| ROOT.into(), PathBuf::from)
}

/// `PYSHM_BUNDLES`: what is staged for a preloaded launcher.
#[must_use]
pub fn bundles() -> Vec<Named> {
    let paths = variable(launch::ENV_BUNDLES).unwrap_or_default();
    let paths = std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty());
    paths.map(|path| Named::file(&path)).collect()
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
    match value.to_str().map(parse_size) {
        Some(Ok(size)) => Ok(Some(size)),
        _ => Err(nonsense(name, &value, "is no size: write it as 500M or 20GB, or unset it")),
    }
}

/// A size: bytes, or with `k`, `M`, `G`, `T` behind the number and an optional `B`; `Ki`, `Mi` … are powers of 1024.
///
/// # Errors
/// What it should look like.
pub fn parse_size(text: &str) -> std::result::Result<u64, String> {
    let bad = || format!("'{text}' is no size: write it as 500M or 20GB");
    let trimmed = text.trim();
    let trimmed = trimmed.strip_suffix(['B', 'b']).unwrap_or(trimmed);
    let (trimmed, base) = trimmed.strip_suffix('i').map_or((trimmed, 1000u64), |t| (t, 1024));
    let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match trimmed[digits.len()..].to_ascii_lowercase().as_str() {
        "" if base == 1000 => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(bad()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| bad())?;
    if !(number.is_finite() && number >= 0.0) {
        return Err(bad());
    }
    Ok((number * base.pow(power) as f64) as u64)
}

/// `--chunk`: bytes that are broadcast at once.
///
/// # Errors
/// Why it cannot be.
pub fn parse_chunk(text: &str) -> std::result::Result<usize, String> {
    let size = parse_size(text)?;
    match usize::try_from(size) {
        Ok(size) if (64 << 10..=64 << 20).contains(&size) => Ok(size),
        _ => Err("it must be between 64KiB and 64MiB".into()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("1000", 1000),
            ("20 GB", 20_000_000_000),
            ("1.5k", 1500),
            ("500M", 500_000_000),
            ("4MiB", 4 << 20),
            ("64 Ki", 64 << 10),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["many", "-1", "4i", "", "3QB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(parse_chunk(CHUNK), Ok(4 << 20));
        assert!(parse_chunk("1G").is_err() && parse_chunk("1").is_err());
    }
}
