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
/// If pyshm does not read a launcher's command lines, the launcher implements only [`name`](Self::name) and
/// [`ranks`](Self::ranks): its ranks stage (`LAUNCHER pyshm-run PROGRAM`). If pyshm reads its command lines, the
/// launcher also has file names, implements [`read`](Self::read) and [`programs`](Self::programs), and recognises
/// itself among launchers of the same file name.
pub trait Launcher: fmt::Debug + Sync {
    /// The launcher's name in messages.
    fn name(&self) -> &'static str;

    /// The variables by which the launcher's ranks are recognised.
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

    /// The number of ranks on this node, for a launcher that tells the number in another way than by
    /// [`RankVariables::local_size`]. This number is used only if no launcher's variable tells one: a launcher may have
    /// started the daemons of another launcher, one on each node, and then this number is the number of daemons.
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

    /// Whether the file name alone shows that a program is this launcher. Then the program is not run with `--version`.
    fn is_told_by_name(&self, _file_name: &OsStr) -> bool {
        false
    }

    /// Whether `text`, which a program printed for `--version`, shows that the program is this launcher.
    fn is_told_by_version(&self, _text: &str) -> bool {
        false
    }

    /// Reads a command line whose first word is this launcher.
    ///
    /// # Errors
    /// The reason why the command line is not understood.
    fn read(
        &self,
        _command: &[OsString],
        _environment: &Environment,
    ) -> Result<Launch, NotUnderstood> {
        Err(NotUnderstood::Launcher)
    }

    /// The index of each PROGRAM in a command of this launcher, even if it is not understood which nodes get ranks.
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

    /// The libraries of [`mpis`](Self::mpis), of which the best one for the launch command `step` comes first.
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

    /// Sets the variables that the staging step `command` needs because of this launcher. All launchers are asked,
    /// since one launcher may use another: in an allocation of Slurm, `mpiexec` starts its daemons with `srun`.
    fn prepare_step(&self, _command: &mut Command) {}
}
