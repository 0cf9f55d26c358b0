//! Tells which launcher a program is, from its file name or, if several launchers have that name, from what it prints.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::launchers::environment::Environment;
use crate::launchers::launcher::Launcher;
use crate::launchers::not_understood::WAY_OUT;
use crate::launchers::{launch_env, registry};

/// Whether the first word of a command, a name or a path, is that of a launcher.
#[must_use]
pub fn is_launcher(word: &OsStr) -> bool {
    let file_name = Path::new(word).file_name();
    file_name.is_some_and(|file_name| registry::file_names().any(|name| file_name == name))
}

/// Finds the launcher that needs no option to start ranks on the nodes of this process's allocation; `None` if there is
/// no such allocation.
#[must_use]
pub fn of_allocation(environment: &Environment) -> Option<&'static str> {
    let is_in = |variable| environment.var(variable).is_some();
    let launcher = registry::all().find(|l| l.allocation_variable().is_some_and(is_in))?;
    launcher.file_names().first().copied()
}

/// Tells which launcher the program at `path` is. Runs `path --version` if the file name does not tell.
///
/// # Errors
/// [`Error::System`] when the program cannot be run, [`Error::CannotRun`] when it is no launcher of the registry.
pub fn identify(path: &Path) -> Result<&'static dyn Launcher> {
    let file_name = path.file_name().unwrap_or_default();
    if let Some(launcher) = registry::all().find(|l| l.is_told_by_name(file_name)) {
        return Ok(launcher);
    }
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null());
    // If the shim were preloaded into the program, the shim would start pyshm-run instead of the program, and that
    // pyshm-run would run `--version` again, without end.
    launch_env::leave_alone(&mut command);
    let output =
        command.output().map_err(Error::system(format!("run {} --version", path.display())))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    by_version(&text).ok_or_else(|| {
        let path = path.display();
        let known = registry::all().filter(|l| !l.file_names().is_empty()).map(Launcher::name);
        let known = known.collect::<Vec<_>>().join(", ");
        let cause = format!("'{path} --version' names none of {known}");
        Error::cannot_run(format!("tell which launcher {path} is"), cause, WAY_OUT)
    })
}

fn by_version(text: &str) -> Option<&'static dyn Launcher> {
    registry::all().find(|launcher| launcher.is_told_by_version(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchers::testing::environment;

    #[test]
    fn launchers_are_told_by_name_with_or_without_a_path() {
        assert!(is_launcher(OsStr::new("mpiexec")));
        assert!(is_launcher(OsStr::new("/opt/mpich/bin/mpiexec.hydra")));
        assert!(!is_launcher(OsStr::new("python")));
        assert!(!is_launcher(OsStr::new("mpiexec/app")));
    }

    #[test]
    fn launchers_of_the_same_name_are_told_by_their_version() {
        let of = |text| by_version(text).map(Launcher::name);
        assert_eq!(of("HYDRA build details:\n    Version: 5.0.2\n"), Some("Hydra"));
        assert_eq!(
            of("HYDRA build details:\n    Configure options: --with-x=/Open MPI\n"),
            Some("Hydra")
        );
        assert_eq!(of("mpirun (Open MPI) 4.1.4\n"), Some("Open MPI"));
        assert_eq!(of("prterun (PRRTE) 3.0.6\n"), Some("Open MPI"));
        assert_eq!(of("Intel(R) MPI Library for Linux* OS, Version 2021.9\n"), Some("Hydra"));
        assert_eq!(of("slurm 22.05.8\n"), Some("Slurm"));
        assert_eq!(of("something else"), None);
    }

    #[test]
    fn srun_is_not_asked() {
        // Without a controller, srun could not even print its version.
        assert_eq!(identify(Path::new("/no/such/srun")).unwrap().name(), "Slurm");
    }

    #[test]
    fn an_allocation_of_slurm_needs_no_launcher_on_the_command_line() {
        assert_eq!(of_allocation(&environment(&[("SLURM_JOB_ID", "7")])), Some("srun"));
        assert_eq!(of_allocation(&environment(&[("PBS_JOBID", "7")])), None);
    }
}
