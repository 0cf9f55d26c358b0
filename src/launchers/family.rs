//! Which launcher a command starts with, told by its name and by what it says of itself.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use pyshm_format::launch;

use crate::error::{Error, Result};
use crate::install;
use crate::install::Mpi;
use crate::launchers::{World, launch_env};

/// Launchers with the same options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `mpiexec` of MPICH, MVAPICH, Intel MPI.
    Hydra,
    /// `mpirun` of Open MPI, `prterun`.
    OpenMpi,
    /// `srun`.
    Slurm,
}

/// Whether a command's first word, plain or as a path, names a launcher.
#[must_use]
pub fn is_launcher(word: &OsStr) -> bool {
    Path::new(word).file_name().is_some_and(|name| launch::is_launcher(name.as_bytes()))
}

impl Family {
    /// Its name in the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hydra => "hydra",
            Self::OpenMpi => "openmpi",
            Self::Slurm => "srun",
        }
    }

    /// Asks the launcher at `path` what it is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it says nothing that is known.
    pub fn of(path: &Path) -> Result<Self> {
        // srun without a reachable controller cannot even say its version.
        if path.file_name().is_some_and(|n| n == "srun") {
            return Ok(Self::Slurm);
        }
        let mut command = Command::new(path);
        command.arg("--version").stdin(Stdio::null());
        // It is one of ours: preloaded, it would have us look at it.
        launch_env::taken_care_of(&mut command);
        let output =
            command.output().map_err(Error::system(format!("run {} --version", path.display())))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Self::from_version(&text).ok_or_else(|| {
            let path = path.display();
            Error::Unavailable(format!(
                "failed to tell which launcher {path} is: '{path} --version' names neither Hydra nor Open MPI; set \
                 PYSHM_BCAST_LAUNCH to the command that starts one process on each of the job's nodes and \
                 PYSHM_PROGRAM to the word that is the program"
            ))
        })
    }

    fn from_version(text: &str) -> Option<Self> {
        let says = |word: &str| text.contains(word);
        if says("HYDRA") || says("Intel(R) MPI") {
            Some(Self::Hydra)
        } else if says("Open MPI") || says("OpenRTE") || says("PRRTE") || says("PRTE") {
            Some(Self::OpenMpi)
        } else if text.starts_with("slurm") {
            Some(Self::Slurm)
        } else {
            None
        }
    }

    /// The MPI whose processes it can start; `step` is the launch command, for srun's `--mpi`.
    pub(super) fn mpi(self, step: &[OsString], world: &World) -> Mpi {
        match self {
            Self::Hydra => Mpi::Mpich,
            Self::OpenMpi => Mpi::OpenMpi,
            Self::Slurm => {
                let option =
                    step.iter().find_map(|w| w.to_str()?.strip_prefix("--mpi=").map(String::from));
                let kind = option.or_else(|| {
                    let at = step.iter().position(|w| w == "--mpi")?;
                    Some(step.get(at + 1)?.to_str()?.to_string())
                });
                let kind = kind.or_else(|| world.var("SLURM_MPI_TYPE")).unwrap_or_default();
                // pmix serves both, and is what Open MPI needs: what is installed decides.
                let (first, second) = match kind.starts_with("pmix") {
                    true => (Mpi::OpenMpi, Mpi::Mpich),
                    false => (Mpi::Mpich, Mpi::OpenMpi),
                };
                if install::broadcaster(first).is_err() && install::broadcaster(second).is_ok() {
                    second
                } else {
                    first
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_told_by_name_with_or_without_a_path() {
        assert!(is_launcher(OsStr::new("mpiexec")));
        assert!(is_launcher(OsStr::new("/opt/mpich/bin/mpiexec.hydra")));
        assert!(!is_launcher(OsStr::new("python")));
        assert!(!is_launcher(OsStr::new("mpiexec/app")));
    }

    #[test]
    fn families_are_told_by_their_version() {
        let of = Family::from_version;
        assert_eq!(of("HYDRA build details:\n    Version: 5.0.2\n"), Some(Family::Hydra));
        assert_eq!(of("mpirun (Open MPI) 4.1.4\n"), Some(Family::OpenMpi));
        assert_eq!(of("prterun (PRRTE) 3.0.6\n"), Some(Family::OpenMpi));
        assert_eq!(of("Intel(R) MPI Library for Linux* OS, Version 2021.9\n"), Some(Family::Hydra));
        assert_eq!(of("slurm 22.05.8\n"), Some(Family::Slurm));
        assert_eq!(of("something else"), None);
    }
}
