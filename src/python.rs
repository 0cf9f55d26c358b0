//! Asks a Python interpreter about itself.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::error::Result;

/// The base interpreter's prefix of the environment `prefix`, when it is another directory and may be bundled.
pub fn base_of(prefix: &Path) -> Result<Option<PathBuf>> {
    let out = std::process::Command::new(prefix.join("bin/python"))
        .args(["-c", "import sys; print(sys.base_prefix)"])
        .output();
    let Ok(out) = out else { return Ok(None) };
    let base = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
    Ok((base != prefix && base != Path::new("/usr")).then_some(base))
}
