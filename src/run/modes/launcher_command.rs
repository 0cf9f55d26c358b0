//! Runs a command that starts with a launcher. First the staging step runs on the nodes of the ranks; then the command
//! runs, with the staged trampoline before each program.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::Command;

use crate::error::{Error, Result};
use crate::launchers::{Environment, Nodes, StagingPlan, launch_env};
use crate::program::lookup;
use crate::protocol::events::{Event, Ready};
use crate::protocol::request::{AbsentProgram, Selection, Task};
use crate::run::cli::Cli;
use crate::run::command::child::{Ended, Watch};
use crate::run::command::{child, trampoline};
use crate::run::fallback;
use crate::run::inbox::Inbox;
use crate::run::request;
use crate::run::step::broadcast::Broadcast;
use crate::run::step::{Step, broadcast, helper, local, unexpected};
use crate::run::summary;
use crate::stage::hold::Hold;
use crate::{install, launchers, settings};

/// The stage of the ranks, and the process that holds it.
enum Staged {
    /// The stage is on this node only, and this process holds it.
    OnThisNode(Box<(Hold, Ready)>),
    /// The stage is on all nodes, and the staging step holds it.
    OnAllNodes(Box<Broadcast>),
}

impl Staged {
    fn ready(&self) -> &Ready {
        match self {
            Self::OnThisNode(held) => &held.1,
            Self::OnAllNodes(broadcast) => &broadcast.ready,
        }
    }
}

/// Stages for the launcher's ranks and runs the launcher.
///
/// # Errors
/// The errors of starting the launcher; with `--no-fallback` also those of staging.
pub fn run(cli: &Cli) -> Result<Ended> {
    let path = lookup::find(&cli.command[0])?;
    let inbox = Inbox::open()?;
    let environment = Environment::current(install::SITE);
    let is_unknown = !launchers::is_launcher(&cli.command[0]);
    let launcher = if is_unknown && launchers::is_told_by_user(&environment) {
        // The user gives the command of the step in PYSHM_BCAST_LAUNCH. Then the launcher matters only for the choice
        // of a helper for its MPI, and the user may choose the helper by PYSHM_BCAST.
        Ok(launchers::registry::unknown())
    } else {
        launchers::identify(&path)
    };
    let watch = watch(launcher.as_ref().is_ok_and(|launcher| launcher.may_hang()));
    match launcher.and_then(|launcher| launchers::plan(&cli.command, launcher, &environment)) {
        Ok(Some(plan)) => run_planned(cli, &plan, &inbox),
        Ok(None) => run_unstaged(cli, watch, &inbox),
        Err(cause) => {
            fallback::warn_or_fail(cli, cause)?;
            child::run(&mut without_shim(cli, &cli.command), watch, &inbox)
        }
    }
}

/// Stages as `plan` says and runs the launcher.
///
/// # Errors
/// As [`run`].
pub fn run_planned(cli: &Cli, plan: &StagingPlan, inbox: &Inbox) -> Result<Ended> {
    let watch = watch(plan.may_hang);
    let staged = match stage(cli, plan, inbox) {
        Ok(Some(staged)) => staged,
        Ok(None) => return run_unstaged(cli, watch, inbox),
        Err(Error::Interrupted(signal)) => return Ok(Ended::Signal(signal)),
        Err(cause) => {
            fallback::warn_or_fail(cli, cause)?;
            return child::run(&mut without_shim(cli, &cli.command), watch, inbox);
        }
    };
    let argv = trampoline::insert(cli, &plan.programs, &staged.ready().stage);
    let ended = child::run(&mut without_shim(cli, &argv), watch, inbox);
    let ready = staged.ready().clone();
    let answered = match staged {
        Staged::OnThisNode(held) => Some(held.0.release().answered),
        Staged::OnAllNodes(broadcast) => {
            broadcast.finish(inbox).counted.map(|(answered, _)| answered)
        }
    };
    if cli.sums_up() {
        warn_line!("pyshm-run: {}", summary::line(&ready, answered));
    }
    ended
}

/// Chooses what is watched while a launcher runs.
fn watch(may_hang: bool) -> Watch {
    if may_hang { Watch::HungLauncher } else { Watch::Exit }
}

/// Runs the launcher when there is nothing to stage for it.
fn run_unstaged(cli: &Cli, watch: Watch, inbox: &Inbox) -> Result<Ended> {
    let mut command = cli.start(&cli.command);
    if cli.preloaded.is_some() || launch_env::is_preloaded() {
        launch_env::leave_alone(&mut command);
    }
    child::run(&mut command, watch, inbox)
}

/// Makes the launcher's command without the shim. The ranks get the staged shim from the trampoline, or no shim.
fn without_shim(cli: &Cli, words: &[OsString]) -> Command {
    let mut command = cli.start(words);
    launch_env::without_shim(&mut command);
    if cli.preloaded.is_some() && !launch_env::is_preloaded() {
        // The shim was loaded in another way than by LD_PRELOAD, and will be loaded again in this way. So the shim is
        // told to do nothing.
        launch_env::leave_alone(&mut command);
    }
    command
}

/// Stages for the ranks of `plan`; `None` when there is nothing to stage.
fn stage(cli: &Cli, plan: &StagingPlan, inbox: &Inbox) -> Result<Option<Staged>> {
    settings::check()?;
    let selection = request::selection(cli);
    let is_configured = matches!(selection, Selection::Configured(..));
    let ranks = plan.ranks.or(plan.expected_nodes).unwrap_or(1);
    let task = if plan.nodes == Nodes::Here { Task::Stage } else { Task::Prepare };
    // The broadcast helper is looked for before a bundle is made, because a bundle would be useless without the helper.
    // If bundles are configured, the helper is looked for later: this command may use no bundle, and then needs no
    // helper.
    let program = match task {
        Task::Prepare if !is_configured => Some(broadcast::program(plan)?),
        _ => None,
    };
    let absent = AbsentProgram::MayBeOnNodes;
    let request = request::new(cli, selection, plan.programs.clone(), absent, ranks, task);
    if task == Task::Stage {
        let staged = local::stage(cli, &request, inbox)?;
        return Ok(staged.map(|held| Staged::OnThisNode(Box::new(held))));
    }
    // Until the bundles are read, the preparing process keeps the cache from deleting them.
    let mut preparing = Step::help(helper::command(&request)?, inbox)?;
    let prepared = match preparing.wait(inbox, None)? {
        Event::Prepared(prepared) => prepared,
        Event::Nothing { reason } => {
            cli.say(&format!("nothing is staged: {reason}"));
            return Ok(None);
        }
        _ => return Err(unexpected()),
    };
    let program = program.map_or_else(|| broadcast::program(plan), Ok);
    let staged =
        program.and_then(|program| Broadcast::start(cli, plan, &program, &prepared, inbox));
    preparing.finish(inbox);
    Ok(staged?.map(|broadcast| Staged::OnAllNodes(Box::new(broadcast))))
}
