//! Which bundles a job stages: those the user named, or those of the Python environment that its program runs in.
#![forbid(unsafe_code)]

pub mod command_usage;
pub mod coverage;
pub mod worthwhile;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::bundle::Named;
use crate::cache;
use crate::cache::UseMark;
use crate::error::{Error, Result};
use crate::program::elf_needed::linked;
use crate::program::python::Python;
use crate::program::{lookup, python};
use crate::progress::Progress;
use crate::run::select::command_usage::Unneeded;
use crate::stage::StageId;

/// Variables that name directories in which programs look for others, for libraries and for modules.
pub const SEARCHED: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME"];
/// Variables that name the environment in use.
pub const ENVIRONMENTS: [&str; 2] = ["VIRTUAL_ENV", "CONDA_PREFIX"];

/// What to stage.
#[derive(Debug)]
pub struct Chosen {
    /// The stage's name.
    pub id: StageId,
    /// The bundles.
    pub bundles: Vec<Named>,
    /// What a bundle must cover to be staged; `None` where that is decided already.
    pub interests: Option<Vec<PathBuf>>,
    /// The bundles were compared with their prefixes just now.
    pub fresh: bool,
    /// Keeps bundles of the cache while they are read.
    pub uses: Vec<UseMark>,
    /// What people should know of the bundles.
    pub warnings: Vec<String>,
}

/// Chooses; `Err(reason)` inside when there is nothing to stage, which is no failure.
///
/// # Errors
/// Whatever goes wrong with a named bundle, the interpreter or the cache.
pub fn choose(
    named: &[Named],
    programs: &[OsString],
    ranks: usize,
    say: &dyn Fn(&str),
) -> Result<Result<Chosen, String>> {
    let programs: Vec<_> = programs.iter().filter_map(|p| lookup::find(p).ok()).collect();
    if named.is_empty() {
        automatic(programs.first().map(PathBuf::as_path), ranks, say)
    } else {
        explicit(named, &programs).map(Ok)
    }
}

/// Of the bundles that are configured those that `command` uses, whose programs are at the places `programs`.
///
/// # Errors
/// A bundle that has gone meanwhile.
pub fn configured(
    named: &[Named],
    command: &[OsString],
    programs: &[usize],
) -> Result<Result<Chosen, Unneeded>> {
    let needed = match command_usage::of(named, command, programs) {
        Ok(needed) => needed,
        Err(why) => return Ok(Err(why)),
    };
    let id = stage_id(&needed.bundles, &needed.interests)?;
    let (bundles, interests) = (needed.bundles, Some(needed.interests));
    let (uses, warnings) = (Vec::new(), needed.missing);
    Ok(Ok(Chosen { id, bundles, interests, fresh: false, uses, warnings }))
}

fn explicit(named: &[Named], programs: &[PathBuf]) -> Result<Chosen> {
    let path = |p: &PathBuf| std::path::absolute(p).map_err(Error::read("bundle", p));
    let absolute = |named: &Named| -> Result<Named> {
        let prefix = named.prefix.as_ref().map(path).transpose()?;
        Ok(Named { path: path(&named.path)?, prefix, layer: named.layer })
    };
    let bundles = named.iter().map(absolute).collect::<Result<Vec<_>>>()?;
    let interests = interests(programs);
    let id = stage_id(&bundles, &interests)?;
    let (uses, warnings) = (Vec::new(), Vec::new());
    Ok(Chosen { id, bundles, interests: Some(interests), fresh: false, uses, warnings })
}

/// Of several bundles only some may be staged, so that what they are staged for is part of the name.
fn stage_id(bundles: &[Named], interests: &[PathBuf]) -> Result<StageId> {
    let id = StageId::of_bundles(bundles)?;
    if bundles.len() < 2 {
        return Ok(id);
    }
    let mut hash = blake3::Hasher::new();
    hash.update(id.as_str().as_bytes());
    for path in interests {
        hash.update(path.as_os_str().as_encoded_bytes()).update(&[0]);
    }
    StageId::parse(&hash.finalize().to_hex()[..16])
}

fn automatic(
    program: Option<&Path>,
    ranks: usize,
    say: &dyn Fn(&str),
) -> Result<Result<Chosen, String>> {
    let Some(interpreter) = lookup::interpreter(program) else {
        return Ok(Err("no Python interpreter is on PATH".into()));
    };
    let python = Python::ask(&interpreter)?;
    let prefixes = python.bundled();
    if prefixes.is_empty() {
        let names: Vec<_> = python.prefixes.iter().map(|p| p.display().to_string()).collect();
        return Ok(Err(format!(
            "{} is never bundled by itself; name a bundle with -b",
            names.join(", ")
        )));
    }
    let (mut bundles, mut uses, mut unpacked) = (Vec::new(), Vec::new(), 0);
    for prefix in prefixes {
        let cached = cache::ensure(&prefix, Progress::Shown, say)?;
        unpacked += cached.manifest.unpacked_bytes();
        bundles.push(Named::file(&cached.bundle));
        uses.push(cached.using);
    }
    if let Some(why) = worthwhile::decline(unpacked, worthwhile::serial_read(), ranks) {
        return Ok(Err(why));
    }
    let id = StageId::of_bundles(&bundles)?;
    Ok(Ok(Chosen { id, bundles, interests: None, fresh: true, uses, warnings: Vec::new() }))
}

/// Paths that the job will use: its programs, where these look for their libraries, and what the environment's variables
/// name.
pub(super) fn interests(programs: &[PathBuf]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut add = |path: PathBuf| {
        let Ok(path) = std::path::absolute(path) else { return };
        let real = std::fs::canonicalize(&path).ok().filter(|real| *real != path);
        for path in [Some(path), real].into_iter().flatten() {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    };
    for program in programs {
        add(program.clone());
        // A C program lies in its own prefix and loads MPI's library from another one.
        linked(program).unwrap_or_default().search.into_iter().for_each(&mut add);
        let interpreter = lookup::interpreter(Some(program));
        // A wrapper (pyenv's) says nothing by where it lies: it is asked.
        let wrapper = interpreter
            .as_deref()
            .filter(|i| python::is_interpreter(program) && lookup::is_script(i));
        for prefix in
            wrapper.and_then(|w| Python::ask(w).ok()).map(|p| p.prefixes).unwrap_or_default()
        {
            if python::may_bundle(&prefix) {
                add(prefix);
            }
        }
        if let Some(interpreter) = interpreter.filter(|_| lookup::is_script(program)) {
            add(interpreter);
        }
    }
    for name in SEARCHED {
        let value = std::env::var_os(name).unwrap_or_default();
        for path in std::env::split_paths(&value).filter(|p| !p.as_os_str().is_empty()) {
            add(path);
        }
    }
    for name in ENVIRONMENTS {
        if let Some(path) = std::env::var_os(name).filter(|v| !v.is_empty()) {
            // Its interpreter is the base's, though nothing else may name that.
            add(Path::new(&path).join("bin/python"));
            add(path.into());
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_real_path_counts_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(dir.path()).unwrap().join("tool");
        std::fs::write(&real, "").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let paths = interests(std::slice::from_ref(&link));
        assert!(paths.contains(&link) && paths.contains(&real));
    }

    #[test]
    fn several_bundles_have_another_name_for_other_interests() {
        let dir = tempfile::tempdir().unwrap();
        let bundles: Vec<Named> =
            ["a", "b"].iter().map(|n| Named::file(&dir.path().join(n))).collect();
        bundles.iter().for_each(|b| std::fs::write(&b.path, "x").unwrap());
        let (x, y) = ([PathBuf::from("/x")], [PathBuf::from("/y")]);
        assert_ne!(stage_id(&bundles, &x).unwrap(), stage_id(&bundles, &y).unwrap());
        assert_eq!(stage_id(&bundles[..1], &x).unwrap(), stage_id(&bundles[..1], &y).unwrap());
    }
}
