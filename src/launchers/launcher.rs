//! Defines what pyshm has to know about a launcher: the trait that each launcher of the registry implements.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::process::Command;

use crate::launchers::environment::Environment;
use crate::launchers::launch::Launch;
use crate::launchers::mpi::Mpi;
use crate::launchers::not_understood::NotUnderstood;

/// Looks up a variable that is set and not empty.
pub type Look<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables in the environment of a launcher's ranks.
#[derive(Debug)]
pub struct RankVariables {
    /// A variable that every rank has, and that no process outside a launch has; the shim's list has it too
    /// ([`pyshm_format::launch::rank_variables`]).
    pub rank: &'static str,
    /// The variable whose value is the number of ranks that the launch has on this node.
    pub local_size: Option<&'static str>,
    /// The variables whose values name the launch; the first that is set counts.
    pub launch: &'static [&'static str],
}

/// A launcher, or several with the same options and variables.
///
/// A launcher that is known by its ranks only implements just [`name`](Self::name) and [`ranks`](Self::ranks): its
/// ranks stage for themselves (`LAUNCHER pyshm-run PROGRAM`). A launcher whose command lines pyshm reads also has file
/// names, tells itself apart from others of the same name, and implements [`read`](Self::read) and
/// [`programs`](Self::programs).
pub trait Launcher: fmt::Debug + Sync {
    /// The launcher's name in messages.
    fn name(&self) -> &'static str;

    /// The variables by which its ranks are known.
    fn ranks(&self) -> &'static RankVariables;

    /// Whether this process belongs to a launch that may have other ranks on this node.
    fn is_shared(&self, look: Look<'_>) -> bool {
        look(self.ranks().rank).is_some()
    }

    /// The string `NAME=VALUE` that the processes of this rank have in their environment, and processes of other ranks
    /// do not.
    fn own_rank(&self, look: Look<'_>) -> Option<String> {
        let name = self.ranks().rank;
        Some(format!("{name}={}", look(name)?))
    }

    /// The name of the launch to which this rank belongs. All ranks of the launch have the same name, and every other
    /// launch has another name.
    fn launch(&self, look: Look<'_>) -> Option<String> {
        self.ranks().launch.iter().find_map(|name| Some(format!("{name} {}", look(name)?)))
    }

    /// The number of ranks on this node, for a launcher that tells it in another way than by
    /// [`RankVariables::local_size`]. It counts only if no launcher's variable tells the number, since a launcher may
    /// start the daemons of another one, one on each node.
    fn derived_local_size(&self, _look: Look<'_>) -> Option<usize> {
        None
    }

    /// The file names of the launcher; the shim's list has them too ([`pyshm_format::launch::launchers`]).
    fn file_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// The key KEY of the launcher's table `[launcher.KEY]` in the settings.
    fn settings_key(&self) -> Option<&'static str> {
        None
    }

    /// Whether a program with this file name is this launcher without a doubt, so that its `--version` need not be run.
    fn is_told_by_name(&self, _file_name: &OsStr) -> bool {
        false
    }

    /// Whether `text`, which `LAUNCHER --version` printed, shows that it is this launcher.
    fn is_told_by_version(&self, _text: &str) -> bool {
        false
    }

    /// Reads a command line whose first word is this launcher.
    ///
    /// # Errors
    /// What is not understood.
    fn read(
        &self,
        _command: &[OsString],
        _environment: &Environment,
    ) -> Result<Launch, NotUnderstood> {
        Err(NotUnderstood::Launcher)
    }

    /// The index of each PROGRAM in a command of this launcher, whether or not its nodes are understood.
    ///
    /// # Errors
    /// The option that is not understood.
    fn programs(&self, _command: &[OsString]) -> Result<Vec<usize>, NotUnderstood> {
        Err(NotUnderstood::Launcher)
    }

    /// The MPI libraries whose programs the launcher starts.
    fn mpis(&self) -> &'static [Mpi] {
        &[Mpi::Mpich, Mpi::OpenMpi]
    }

    /// The same libraries, the best one for the launch command `step` first.
    fn mpis_for(&self, _step: &[OsString], _environment: &Environment) -> &'static [Mpi] {
        self.mpis()
    }

    /// Whether the launcher may go on waiting after all its processes have ended.
    fn may_hang(&self) -> bool {
        false
    }

    /// The variable of an allocation in which the launcher starts on the allocation's nodes without any option.
    fn allocation_variable(&self) -> Option<&'static str> {
        None
    }

    /// Whether a variable, set for the application's launch, would change how the staging step is started.
    fn shapes_step(&self, _variable: &OsStr) -> bool {
        false
    }

    /// Sets the variables that the staging step `command` needs, whichever launcher starts it: in an allocation of
    /// Slurm, `mpiexec` starts its daemons with `srun`.
    fn prepare_step(&self, _command: &mut Command) {}
}
