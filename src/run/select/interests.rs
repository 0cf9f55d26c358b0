//! Lists the paths that a job uses, its interests: a bundle is staged for the job if it covers one of them.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::program::elf_needed::linked;
use crate::program::python::{ENVIRONMENT_VARIABLES, Python};
use crate::program::{lookup, python};

/// Variables that name the directories in which programs, libraries and modules are looked for.
pub const SEARCH_VARIABLES: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME"];

/// Lists the paths that a job uses: its programs, the directories in which the programs look for their libraries, and
/// the paths that the variables of the environment name.
#[must_use]
pub fn of(programs: &[PathBuf]) -> Vec<PathBuf> {
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
        // A C program may be in one prefix and load MPI's library from another.
        linked(program).unwrap_or_default().search.into_iter().for_each(&mut add);
        let interpreter = lookup::interpreter(Some(program));
        // The path of a wrapper script (pyenv's) does not tell the prefix, so the wrapper is run and asked.
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
    for name in SEARCH_VARIABLES {
        let value = std::env::var_os(name).unwrap_or_default();
        for path in std::env::split_paths(&value).filter(|p| !p.as_os_str().is_empty()) {
            add(path);
        }
    }
    for name in ENVIRONMENT_VARIABLES {
        if let Some(path) = std::env::var_os(name).filter(|v| !v.is_empty()) {
            // The interpreter of a virtual environment is the interpreter of its base environment. Perhaps no other
            // variable names that base.
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
        let paths = of(std::slice::from_ref(&link));
        assert!(paths.contains(&link) && paths.contains(&real));
    }
}
