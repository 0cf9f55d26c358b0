//! `--all-nodes`: the same command on every node of a job, started by the job's own launcher.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::{Command, Stdio};

use clap::Args;

use crate::error::{Error, Result};
use crate::run::command;
use crate::run::launchers::{self, Family, World};

/// Where a command is to run.
#[derive(Debug, Args)]
pub struct AllNodes {
    /// On every node of the job: by srun in an allocation of Slurm's, else by the LAUNCHER that is given behind '--'
    #[arg(long)]
    all_nodes: bool,
    /// The job's launcher and its options, as 'mpiexec -f hosts -n 64'
    #[arg(last = true, value_name = "LAUNCHER", requires = "all_nodes")]
    launcher: Vec<OsString>,
    /// What a node's own process is told
    #[arg(long, hide = true)]
    pub(super) name_node: bool,
}

/// This node's name.
pub(super) fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl AllNodes {
    /// Runs `pyshm` with `arguments` on all nodes, where that is asked for, and returns what they write to their
    /// standard output.
    ///
    /// # Errors
    /// [`Error::Usage`] without a launcher, [`Error::Unavailable`] where it is not understood or fails.
    pub(super) fn run(&self, arguments: &[OsString]) -> Result<Option<String>> {
        if !self.all_nodes {
            return Ok(None);
        }
        let world = World::current();
        let mut words = self.launcher.clone();
        if words.is_empty() {
            if world.var("SLURM_JOB_ID").is_none() {
                let text = "--all-nodes needs the job's launcher where there is no allocation of Slurm's: \
                            pyshm status --all-nodes -- mpiexec -f hosts -n 64";
                return Err(Error::Usage(text.into()));
            }
            words.push("srun".into());
        }
        let family = Family::of(&command::find(&words[0])?)?;
        // What a launcher takes to be its program; it is never started.
        words.push("true".into());
        let not_understood = || Error::Usage("the launcher's words start no program".into());
        let plan = launchers::plan(&words, family, &world)?.ok_or_else(not_understood)?;
        // On one node alone no launcher is needed.
        let mut step = if plan.nodes == launchers::Nodes::Here { Vec::new() } else { plan.step };
        step.push(std::env::current_exe().map_err(Error::system("find this program"))?.into());
        let mut command = Command::new(&step[0]);
        command.args(&step[1..]);
        command.args(arguments).arg("--name-node").stdin(Stdio::null()).stderr(Stdio::inherit());
        let done = command.output().map_err(Error::system("start the launcher"))?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        if done.status.success() {
            return Ok(Some(text));
        }
        print_line!("{}", text.trim_end());
        Err(Error::Unavailable(format!("the command has failed on a node ({})", done.status)))
    }
}
