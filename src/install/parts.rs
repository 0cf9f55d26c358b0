//! Finds the parts of this installation: beside the running program, or in `lib` and `libexec` beside its directory.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::launchers::{Mpi, Site};
use crate::settings;

/// The functions through which the room `launchers` learns about this installation and its settings.
pub const SITE: Site = Site { step_options: settings::step_options_of, has_helper };

/// The path of the library that ranks load.
///
/// # Errors
/// [`Error::Unavailable`] with the directories that were searched.
pub fn shim() -> Result<PathBuf> {
    part("libpyshm.so")
}

/// The path of the trampoline, which takes the program's place on a launcher's command line.
///
/// # Errors
/// As [`shim`].
pub fn trampoline() -> Result<PathBuf> {
    part("pyshm-exec")
}

/// The path of the broadcast helper for `mpi`; `PYSHM_BCAST` overrides it.
///
/// # Errors
/// As [`shim`].
pub fn broadcaster(mpi: Mpi) -> Result<PathBuf> {
    match std::env::var_os("PYSHM_BCAST") {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => part(mpi.helper()),
    }
}

/// Whether the broadcast helper for `mpi` is installed.
#[must_use]
pub fn has_helper(mpi: Mpi) -> bool {
    broadcaster(mpi).is_ok()
}

/// The path of a file of this installation.
pub(super) fn part(name: &str) -> Result<PathBuf> {
    let exe =
        std::env::current_exe().map_err(Error::system("find the running program's own file"))?;
    let dir = exe.parent().unwrap_or(Path::new("/"));
    let above = dir.parent().unwrap_or(dir);
    let places = [dir.to_path_buf(), above.join("lib"), above.join("libexec")];
    places.iter().map(|place| place.join(name)).find(|path| path.exists()).ok_or_else(|| {
        let places: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
        Error::Unavailable(format!(
            "failed to find {name}: it is in none of {}; install pyshm again",
            places.join(", ")
        ))
    })
}
