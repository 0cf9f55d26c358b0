//! Collects garbage: removes what crashed jobs left behind, and stages of bundles that were replaced.
#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::stage::id::Identity;
use crate::stage::lease::Lease;
use crate::stage::noexec;
use crate::stage::published::Stage;
use crate::stage::user_dir::UserDir;

/// Removes from `user_dir` unfinished stages whose builder died, and published stages that nobody uses. `bundles` are
/// the identities of the job's bundles. A stage with `--keep` stays, unless one of these bundles has replaced a bundle
/// of the stage: no job would find such a stage again. Returns the directories that were removed.
///
/// # Errors
/// [`Error::NoInput`] when the directory cannot be read, [`Error::CannotWrite`] names what cannot be removed.
pub fn collect_garbage(user_dir: &UserDir, bundles: &[Identity]) -> Result<Vec<PathBuf>> {
    let mut removed = remove_unfinished(user_dir)?;
    for stage in Stage::all(user_dir)? {
        let stays = stage.info().is_ok_and(|info| {
            let replaced = |old| bundles.iter().any(|new| new.replaces(old));
            info.keep && !info.identities.iter().any(replaced)
        });
        let dir = stage.dir.clone();
        // An untrusted directory may belong to another user: it is left alone, and is no reason to fail.
        if !stays && stage.check().is_ok() && stage.purge_unused()? {
            removed.push(dir);
        }
    }
    removed.extend(noexec::collect_garbage());
    Ok(removed)
}

/// Removes from `user_dir` unfinished stages whose builder died. Returns their directories.
///
/// # Errors
/// As [`collect_garbage`].
pub fn remove_unfinished(user_dir: &UserDir) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    loop {
        let mut is_renamed = false;
        for dir in user_dir.unfinished()? {
            let Some(_building) = Lease::building(&dir) else { continue };
            let exec_dir = noexec::exec_dir_of(&dir);
            match std::fs::remove_dir_all(&dir) {
                // A builder that was stopped gave the directory another name before it died. So list again.
                Err(e) if e.kind() == ErrorKind::NotFound => is_renamed = true,
                result => {
                    result.map_err(Error::write(&dir))?;
                    exec_dir.iter().for_each(|dir| noexec::remove(dir));
                    removed.push(dir);
                }
            }
        }
        if !is_renamed {
            return Ok(removed);
        }
    }
}
