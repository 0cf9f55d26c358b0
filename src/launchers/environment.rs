//! Holds everything on which the meaning of a launcher's command line depends: variables, this node's name, settings,
//! and the installed broadcast helpers.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use crate::launchers::mpi::Mpi;
use crate::launchers::not_understood::NotUnderstood;

/// Functions that ask pyshm's installation and settings about launchers. They are called only if a command line needs
/// the answer, since a rank must not touch the file system without need.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// The words that the settings add to the staging step of the launcher with this key.
    pub step_options: fn(&str) -> Vec<OsString>,
    /// Whether the broadcast helper for this MPI is installed.
    pub has_helper: fn(Mpi) -> bool,
}

/// Everything on which the meaning of a launcher's command line depends.
#[derive(Debug)]
pub struct Environment {
    variables: HashMap<OsString, OsString>,
    node_name: String,
    site: Site,
}

impl Environment {
    /// Returns the environment of this process.
    #[must_use]
    pub fn current(site: Site) -> Self {
        let node_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self::new(std::env::vars_os().collect(), node_name, site)
    }

    /// Returns an environment with these variables on the node called `node_name`.
    pub(super) fn new(
        variables: HashMap<OsString, OsString>,
        node_name: String,
        site: Site,
    ) -> Self {
        Self { variables, node_name, site }
    }

    /// The value of a variable that is set and not empty.
    #[must_use]
    pub fn var_os(&self, name: &str) -> Option<OsString> {
        self.variables.get(OsStr::new(name)).filter(|value| !value.is_empty()).cloned()
    }

    /// The value of a variable that is set, not empty, and UTF-8.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<String> {
        self.var_os(name)?.into_string().ok()
    }

    /// The value of a variable that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<usize> {
        self.var(name)?.parse().ok()
    }

    /// This node's name, as the kernel has it.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// The words that the settings add to the staging step of the launcher with this key.
    #[must_use]
    pub fn step_options(&self, key: &str) -> Vec<OsString> {
        (self.site.step_options)(key)
    }

    /// The first of `mpis` whose broadcast helper is installed, else the first; MPICH if `mpis` is empty.
    #[must_use]
    pub fn first_with_helper(&self, mpis: &[Mpi]) -> Mpi {
        let [first, others @ ..] = mpis else { return Mpi::Mpich };
        let is_alone = others.is_empty();
        let installed = mpis.iter().find(|mpi| !is_alone && (self.site.has_helper)(**mpi));
        *installed.unwrap_or(first)
    }

    /// Reads the text of a host file.
    ///
    /// # Errors
    /// [`NotUnderstood::HostFile`] when the file cannot be read or is not UTF-8.
    pub fn read_host_file(&self, path: &OsStr) -> Result<String, NotUnderstood> {
        std::fs::read_to_string(path)
            .map_err(|source| NotUnderstood::HostFile { path: path.into(), source })
    }
}
