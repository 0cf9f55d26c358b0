//! Examines launchers and broadcast helpers: which launchers exist, whether `LD_PRELOAD` reaches them, and whether the
//! helper of their MPI starts.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, elf};
use pyshm_format::layout;

use crate::doctor::Finding;
use crate::error::one_line;
use crate::install;
use crate::launchers;
use crate::launchers::{Mpi, registry};
use crate::program::lookup;

/// Examines whether the installed broadcast helpers start. A helper starts only on a node that has the libraries of its
/// MPI.
pub(super) fn helpers() -> Vec<Finding> {
    let installed = |mpi: Mpi| install::broadcaster(mpi).ok().map(|path| (mpi, path));
    let helpers: Vec<_> = [Mpi::Mpich, Mpi::OpenMpi].into_iter().filter_map(installed).collect();
    if helpers.is_empty() {
        let cause =
            "no pyshm-bcast is installed: jobs on several nodes run from the shared file system";
        let advice = "build one where mpicc is on PATH (docs/build.sh), and install pyshm again";
        return vec![Finding::warning("broadcast", cause, advice)];
    }
    helpers.iter().map(|(mpi, path)| helper(*mpi, path)).collect()
}

/// Examines the broadcast helper at `path`.
fn helper(mpi: Mpi, path: &Path) -> Finding {
    let what = mpi.helper();
    let cause = match output(Command::new(path).arg("--version")) {
        Ok(done) if done.status.success() => return Finding::ok(what, "it starts"),
        Ok(done) => first_line(&done.stderr).unwrap_or_else(|| done.status.to_string()),
        Err(e) => one_line(e),
    };
    let advice = "load the module of its MPI, or build it with this site's mpicc (MPICH_MPICC, OPENMPI_MPICC)";
    Finding::warning(what, &format!("{} does not start: {cause}", path.display()), advice)
}

/// Examines the launcher called `named`, or all launchers on `PATH` if none is named.
#[must_use]
pub fn examine(named: Option<&OsStr>) -> Vec<Finding> {
    if let Some(named) = named {
        let missing = |e| {
            vec![Finding::failure(
                "launcher",
                &format!("{e}"),
                "load the module that has it, or give its path",
            )]
        };
        return lookup::find(named).map_or_else(missing, |path| launcher(&path));
    }
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut findings = Vec::new();
    for name in registry::file_names() {
        let Ok(path) = lookup::find(OsStr::new(name)) else { continue };
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if !seen.contains(&real) {
            findings.extend(launcher(&path));
            seen.push(real);
        }
    }
    if findings.is_empty() {
        let cause = "no launcher that pyshm knows is on PATH (mpiexec, mpirun, srun …)";
        let advice = "for jobs on several nodes load the MPI's module first";
        findings.push(Finding::note("launcher", cause, advice));
    }
    findings
}

/// Examines the launcher at `path`.
fn launcher(path: &Path) -> Vec<Finding> {
    let what = path.display().to_string();
    let launcher = match launchers::identify(path) {
        Ok(launcher) => launcher,
        Err(error) => {
            let advice = "put pyshm-run after it: then each node stages for itself";
            return vec![Finding::warning(&what, &error.to_string(), advice)];
        }
    };
    let mpis = launcher.mpis();
    let names: Vec<_> = mpis.iter().map(Mpi::to_string).collect();
    let cause = format!("{}, which starts programs of {}", launcher.name(), names.join(" or "));
    let mut findings = vec![Finding::ok(&what, &cause)];
    if !mpis.iter().any(|mpi| install::has_helper(*mpi)) {
        let wanted: Vec<_> = mpis.iter().map(|mpi| mpi.helper()).collect();
        let cause = format!(
            "{} is not installed: its jobs on several nodes get no broadcast",
            wanted.join(" or ")
        );
        let advice =
            "build it where this MPI's mpicc is on PATH (docs/build.sh), and install pyshm again";
        findings.push(Finding::warning(&what, &cause, advice));
    }
    if let Some(why) = why_not_preloadable(path).or_else(|| why_not_preloaded(path)) {
        let cause = format!("LD_PRELOAD does not reach it: {why}");
        findings.push(Finding::warning(&what, &cause, "put pyshm-run before it"));
    }
    findings
}

/// Returns why the loader preloads nothing into the program at `path`; `None` if the program's file shows no reason.
fn why_not_preloadable(path: &Path) -> Option<&'static str> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o6000 != 0 {
        return Some("it is setuid or setgid");
    }
    if rustix::fs::getxattr(path, "security.capability", &mut [0u8; 64]).is_ok() {
        return Some("it has capabilities");
    }
    let bytes = fs::read(path).ok()?;
    // Any other file is a script: only a start shows whether the shim reaches its interpreter.
    let file = ElfFile64::<Endianness>::parse(&bytes[..]).ok()?;
    let segments = file.elf_header().program_headers(file.endian(), &bytes[..]).ok()?;
    let dynamic = segments.iter().any(|s| s.p_type(file.endian()) == elf::PT_INTERP);
    (!dynamic).then_some("it is statically linked")
}

/// Starts the program at `path` with the shim, and looks for the line that the shim prints because of `PYSHM_LOG`.
/// Without this line, returns why the shim does not reach the program.
fn why_not_preloaded(path: &Path) -> Option<&'static str> {
    let shim = install::shim().ok()?;
    let mut program = Command::new(path);
    program.arg("--version").env("LD_PRELOAD", shim);
    let said = output(program.env(layout::ENV_LOG, "1").env(layout::ENV_DISABLE, "1")).ok()?;
    let is_loaded = String::from_utf8_lossy(&said.stderr).contains("pyshm: inactive");
    (!is_loaded).then_some("it was started with the shim and did not load it")
}

fn output(program: &mut Command) -> std::io::Result<Output> {
    program.stdin(Stdio::null()).output()
}

fn first_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().find(|line| !line.trim().is_empty()).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn copy(dir: &Path, mode: u32) -> PathBuf {
        let path = dir.join("copy");
        fs::copy("/bin/true", &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_setuid_program_is_not_preloaded_and_an_ordinary_one_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(why_not_preloadable(&copy(dir.path(), 0o755)), None);
        assert!(why_not_preloadable(&copy(dir.path(), 0o4755)).unwrap().contains("setuid"));
        assert!(why_not_preloadable(&copy(dir.path(), 0o2755)).unwrap().contains("setgid"));
    }

    #[test]
    fn a_helper_that_does_not_start_is_reported_with_the_loaders_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("helper");
        fs::write(&path, "#!/bin/sh\necho 'libmpi.so.12: cannot open' >&2\nexit 127\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let found = helper(Mpi::Mpich, &path);
        assert_eq!(found.level, Level::Warning);
        assert!(found.cause.contains("libmpi.so.12"), "{found:?}");
    }

    #[test]
    fn a_missing_launcher_is_a_failure() {
        assert_eq!(examine(Some(OsStr::new("/no/such/mpiexec")))[0].level, Level::Failure);
    }
}
