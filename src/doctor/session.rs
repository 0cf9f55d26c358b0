//! Examines the user's session: the installation, the settings, the cache, and what `LD_PRELOAD` does to a program.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use pyshm_format::layout;

use crate::doctor::Finding;
use crate::error::one_line;
use crate::program::lookup;
use crate::{cache, install, settings};

/// Programs that start containers.
const RUNTIMES: [&str; 8] =
    ["apptainer", "singularity", "ch-run", "podman", "docker", "shifter", "sarus", "enroot"];
/// The loader of 32-bit programs on a node that has one.
const NARROW_LOADER: &str = "/lib/ld-linux.so.2";

/// Examines the session.
#[must_use]
pub fn examine() -> Vec<Finding> {
    let mut findings = vec![installation(), settings(), cache_directory()];
    findings.extend(preloaded());
    findings.extend(switches());
    findings
}

fn installation() -> Finding {
    match install::shim().and_then(|shim| install::trampoline().map(|_| shim)) {
        Ok(shim) => Finding::ok("installation", &shim.display().to_string()),
        Err(error) => {
            let advice = "install all of pyshm again: bin, lib and libexec belong together";
            Finding::failure("installation", &error.to_string(), advice)
        }
    }
}

fn settings() -> Finding {
    match settings::check() {
        Ok(()) => {
            let file =
                settings::path().map(|path| format!(", including those of {}", path.display()));
            let cause = format!("all are valid{}", file.unwrap_or_default());
            Finding::ok("settings", &cause)
        }
        Err(error) => Finding::failure(
            "settings",
            &error.to_string(),
            "correct the setting: until then jobs run from the shared file system",
        ),
    }
}

/// Examines the directory of the bundles that pyshm makes automatically. It need not exist yet.
fn cache_directory() -> Finding {
    let what = "cache";
    let dir = match cache::directory() {
        Ok(dir) => dir,
        Err(error) => {
            return Finding::warning(
                what,
                &error.to_string(),
                "set PYSHM_CACHE, or name bundles with -b",
            );
        }
    };
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Finding::ok(what, &dir.display().to_string()),
        Err(e) => {
            let cause = format!("failed to write {}: {}", there.display(), one_line(e));
            Finding::warning(
                what,
                &cause,
                "set PYSHM_CACHE to a directory that you can write, or name bundles with -b",
            )
        }
    }
}

/// Starts a program to examine what `LD_PRELOAD` does to it.
fn preloaded() -> Vec<Finding> {
    let what = "LD_PRELOAD";
    let value = settings::variable(what).unwrap_or_default();
    if !names_shim(&value) {
        let cause = "it does not name libpyshm.so: only what pyshm-run starts is staged";
        return vec![Finding::note(
            what,
            cause,
            "to stage for all programs, run 'module load pyshm'",
        )];
    }
    let mut program = Command::new("true");
    program.env(layout::ENV_LOG, "1").stdin(Stdio::null()).stdout(Stdio::null());
    let said = match program.output() {
        Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
        Err(e) => {
            return vec![Finding::failure(
                what,
                &format!("failed to start a program: {}", one_line(e)),
                "unset it",
            )];
        }
    };
    let mut findings: Vec<_> =
        said.lines().filter(|line| line.contains("ld.so: ")).map(complaint).collect();
    if let Some(state) = said.lines().find_map(|line| line.strip_prefix("pyshm: ")) {
        let is_outside = state.contains("does not lie in a stage");
        let state = if is_outside { "inactive, as it should be outside a job" } else { state };
        findings.push(Finding::ok(what, &format!("programs load the library, which is {state}")));
    }
    if !value.as_bytes().windows(4).any(|part| part == b"$LIB") && Path::new(NARROW_LOADER).exists()
    {
        let cause = "it has no $LIB: the loader prints an error for each 32-bit program";
        findings.push(Finding::note(
            what,
            cause,
            "set it as the module does, to PREFIX/lib/pyshm/$LIB/libpyshm.so",
        ));
    }
    let runtimes = RUNTIMES.iter().filter(|name| lookup::find(OsStr::new(name)).is_ok());
    let runtimes: Vec<_> = runtimes.copied().collect();
    if !runtimes.is_empty() {
        let cause = format!(
            "{} is installed: the library that LD_PRELOAD names may not exist in containers",
            runtimes.join(", ")
        );
        let advice =
            "if the loader prints an error in a container, start it with 'env -u LD_PRELOAD'";
        findings.push(Finding::note("containers", &cause, advice));
    }
    findings
}

/// Makes the finding for a line in which the loader says that it ignores a library.
fn complaint(line: &str) -> Finding {
    let advice = "every program prints this line: remove the path from LD_PRELOAD, or make sure that it exists on this node";
    if line.contains("libpyshm.so") {
        Finding::failure("LD_PRELOAD", line, advice)
    } else {
        Finding::warning("LD_PRELOAD", line, advice)
    }
}

/// Whether a value of `LD_PRELOAD` names the shim.
fn names_shim(value: &OsStr) -> bool {
    let elements = value.as_bytes().split(|b| matches!(b, b':' | b' '));
    elements.into_iter().any(|path| path.rsplit(|b| *b == b'/').next() == Some(b"libpyshm.so"))
}

/// Examines the variables that change what programs do with a stage.
fn switches() -> Vec<Finding> {
    let set = |name: &str| settings::variable(name).filter(|value| value != "0");
    let disabled = set(layout::ENV_DISABLE).map(|_| {
        Finding::failure(layout::ENV_DISABLE, "it is set: no program uses a stage", "unset it")
    });
    let log = set(layout::ENV_LOG).map(|_| {
        let cause = "it is set: each program writes a line to standard error";
        Finding::note(
            layout::ENV_LOG,
            cause,
            "unset it if programs read the standard error of others",
        )
    });
    disabled.into_iter().chain(log).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn the_shim_is_found_among_other_libraries_by_its_file_name() {
        for value in
            ["/a/$LIB/libpyshm.so", "libpyshm.so", "/x.so:/b/libpyshm.so", "/x.so /b/libpyshm.so y"]
        {
            assert!(names_shim(OsStr::new(value)), "{value}");
        }
        for value in ["", "/libpyshm.so/x", "/lib/libpyshm.so.1"] {
            assert!(!names_shim(OsStr::new(value)), "{value}");
        }
    }

    #[test]
    fn another_missing_library_is_a_warning_and_not_a_failure() {
        let line = |name: &str| {
            format!(
                "ERROR: ld.so: object '{name}' from LD_PRELOAD cannot be preloaded (…): ignored."
            )
        };
        assert_eq!(complaint(&line("/a/libpyshm.so")).level, Level::Failure);
        assert_eq!(complaint(&line("/a/libx.so")).level, Level::Warning);
    }
}
