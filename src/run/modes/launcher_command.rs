//! A command that starts with a launcher: the staging step runs on the same nodes first, then the command with the
//! staged trampoline in PROGRAM's place.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::{Error, Reason, Result};
use crate::launchers::{Environment, Nodes, StagingPlan, launch_env};
use crate::program::lookup;
use crate::protocol::events::{Event, Prepared, Ready};
use crate::run::cli::Cli;
use crate::run::command::child;
use crate::run::command::child::Ended;
use crate::run::inbox::Inbox;
use crate::run::modes::plain_command;
use crate::run::step::Step;
use crate::run::step::helper::Request;
use crate::run::{give_up, staged_command, summary};
use crate::stage::hold::Hold;
use crate::{install, launchers, settings};

/// How long cleaning up behind a step may take.
const SWEEPING: Duration = Duration::from_secs(3);

/// What is there for the ranks, and who keeps it there.
enum Staged {
    /// On this node only, held by this process.
    Here(Hold, Ready),
    /// On all nodes, held by the step.
    ByStep(Step, Sweeper, Ready),
}

impl Staged {
    fn ready(&self) -> &Ready {
        match self {
            Self::Here(_, ready) | Self::ByStep(_, _, ready) => ready,
        }
    }
}

/// Stages and runs.
///
/// # Errors
/// The launcher's own, and those of staging with `--no-fallback`.
pub fn run(cli: &Cli) -> Result<Ended> {
    let path = lookup::find(&cli.command[0])?;
    let inbox = Inbox::open()?;
    let environment = Environment::current(install::SITE);
    let is_unknown = !launchers::is_launcher(&cli.command[0]);
    let launcher = if is_unknown && launchers::is_told_by_user(&environment) {
        // All that matters then is its MPI, which PYSHM_BCAST may choose too.
        Ok(launchers::registry::unknown())
    } else {
        launchers::identify(&path)
    };
    let hangs = launcher.as_ref().is_ok_and(|launcher| launcher.may_hang());
    match launcher.and_then(|launcher| launchers::plan(&cli.command, launcher, &environment)) {
        Ok(Some(plan)) => run_planned(cli, &plan, &inbox),
        Ok(None) => run_untouched(cli, hangs, &inbox),
        Err(cause) => {
            give_up(cli, cause)?;
            child::run(&mut without_shim(cli, &cli.command), hangs, &inbox)
        }
    }
}

/// Stages as `plan` says, and runs.
///
/// # Errors
/// As [`run`].
pub fn run_planned(cli: &Cli, plan: &StagingPlan, inbox: &Inbox) -> Result<Ended> {
    let hangs = plan.may_hang;
    let staged = match stage(cli, plan, inbox) {
        Ok(Some(staged)) => staged,
        Ok(None) => return run_untouched(cli, hangs, inbox),
        Err(Error::Interrupted(signal)) => return Ok(Ended::Signal(signal)),
        Err(cause) => {
            give_up(cli, cause)?;
            return child::run(&mut without_shim(cli, &cli.command), hangs, inbox);
        }
    };
    let argv = staged_command(cli, &plan.programs, &staged.ready().stage);
    let ended = child::run(&mut without_shim(cli, &argv), hangs, inbox);
    let ready = staged.ready().clone();
    let answered = match staged {
        Staged::Here(hold, _) => Some(hold.release().answered),
        Staged::ByStep(step, sweeper, _) => {
            let finished = step.finish(inbox);
            if !finished.clean {
                sweeper.sweep();
            }
            finished.counted.map(|(answered, _)| answered)
        }
    };
    if cli.sums_up() {
        warn_line!("pyshm-run: {}", summary::line(&ready, answered));
    }
    ended
}

/// Runs the command where there is nothing to stage for it.
fn run_untouched(cli: &Cli, hangs: bool, inbox: &Inbox) -> Result<Ended> {
    let mut command = cli.start(&cli.command);
    if cli.handed.is_some() || launch_env::is_preloaded() {
        launch_env::taken_care_of(&mut command);
    }
    child::run(&mut command, hangs, inbox)
}

/// The launcher for ranks that have the staged shim, or are to have none.
fn without_shim(cli: &Cli, words: &[OsString]) -> Command {
    let mut command = cli.start(words);
    launch_env::without_shim(&mut command);
    if cli.handed.is_some() && !launch_env::is_preloaded() {
        // It was loaded in another way, and will be again.
        launch_env::taken_care_of(&mut command);
    }
    command
}

/// Stages; `None` when there is nothing to stage.
fn stage(cli: &Cli, plan: &StagingPlan, inbox: &Inbox) -> Result<Option<Staged>> {
    settings::check()?;
    let here = plan.nodes == Nodes::Here;
    let (bundles, configured) = crate::run::bundles_of(cli);
    // Before anything is made: without it the work would be for nothing. What is configured for all commands may not
    // concern this one.
    let found = if here || configured { None } else { Some(helper(plan)?) };
    let request = Request {
        bundles,
        configured,
        command: cli.command.clone(),
        places: plan.programs.clone(),
        programs: plan.programs.iter().map(|at| cli.command[*at].clone()).collect(),
        check_programs: false,
        only_configured: cli.handed.is_some(),
        decided: cli.handed.as_ref().is_some_and(|handed| handed.decided),
        ranks: plan.ranks.or(plan.expected_nodes).unwrap_or(1),
        stage: here,
        root: cli.root.clone(),
        threads: cli.threads,
        timeline: cli.timeline,
        keep: cli.keeps(),
        verbose: cli.verbose,
    };
    if here {
        let staged = plain_command::stage_by_helper(cli, &request, inbox)?;
        return Ok(staged.map(|(hold, ready)| Staged::Here(hold, ready)));
    }
    // It keeps the cache's bundles from being pruned until they are read.
    let mut preparing = Step::help(request.command()?, inbox)?;
    let prepared = match preparing.wait(inbox, None)? {
        Event::Prepared(prepared) => prepared,
        Event::Nothing { reason } => {
            cli.say(&format!("nothing is staged: {reason}"));
            return Ok(None);
        }
        _ => return Err(unexpected()),
    };
    let found = found.map_or_else(|| helper(plan), Ok);
    let staged = found.and_then(|helper| broadcast(cli, plan, &helper, &prepared, inbox));
    preparing.finish(inbox);
    staged
}

/// The broadcast helper, checked to be there, as no launcher says that well.
///
/// # Errors
/// [`Error::Unavailable`] where none is installed, [`Error::CannotRun`] where it is no program.
pub fn helper(plan: &StagingPlan) -> Result<PathBuf> {
    let helper = install::broadcaster(plan.mpi)?;
    lookup::find(helper.as_os_str()).map_err(|error| {
        let what = format!("start the broadcast helper {}", helper.display());
        let cause: Reason = match error {
            Error::NotExecutable { cause, .. } => cause.into(),
            _ => "it does not exist".into(),
        };
        Error::cannot_run(what, cause, "set PYSHM_BCAST to one that runs")
    })
}

fn broadcast(
    cli: &Cli,
    plan: &StagingPlan,
    helper: &Path,
    prepared: &Prepared,
    inbox: &Inbox,
) -> Result<Option<Staged>> {
    let sweeper = Sweeper::new(cli, plan, helper);
    let mut command = sweeper.helper();
    command.args(["--id", &prepared.id, "--threads", &cli.threads.to_string()]);
    command.args(["--chunk", &cli.chunk.to_string()]);
    // By name: not every launcher hands variables on.
    if let Some(reserve) = settings::reserve() {
        command.args(["--reserve", &reserve.to_string()]);
    }
    if let Some(nodes) = plan.expected_nodes {
        command.args(["--nodes", &nodes.to_string()]);
    }
    for (option, given) in
        [("--keep", cli.keeps()), ("--fresh", prepared.fresh), ("--timeline", cli.timeline)]
    {
        if given {
            command.arg(option);
        }
    }
    for path in prepared.interests.iter().flatten() {
        command.arg("--interest").arg(path);
    }
    for bundle in &prepared.bundles {
        command.arg("--bundle").arg(&bundle.path);
        if let Some(prefix) = &bundle.prefix {
            command.arg("--prefix").arg(prefix);
        }
        command.args(bundle.layer.then_some("--layer"));
    }
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    cli.say(&words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" "));
    let mut step = Step::launch(command, inbox, cli.verbose)?;
    let ready = match until_ready(&mut step, inbox) {
        Ok(Some(ready)) => ready,
        Ok(None) if cli.handed.is_some() => {
            step.finish(inbox);
            return Ok(None);
        }
        Ok(None) => return Err(crate::run::step::helper::covers_nothing(&prepared.bundles)),
        Err(error) => {
            // Where it could say what was wrong it has also cleaned up.
            let told =
                matches!(error, Error::Reported { .. } | Error::Usage(_) | Error::Interrupted(_));
            if !step.stop() || !told {
                sweeper.sweep();
            }
            return Err(error);
        }
    };
    if !ready.failures.is_empty() {
        let (without, nodes) = (ready.nodes - ready.staged, ready.nodes);
        let first = one_line(&ready.failures[0]);
        if !cli.falls_back() {
            step.finish(inbox);
            let text = format!("{without} of {} nodes could not be staged ({first})", ready.nodes);
            return Err(Error::Unavailable(text));
        }
        warn_line!(
            "pyshm-run: warning: {without} of {nodes} nodes run from the shared file system ({first})"
        );
    }
    crate::run::warn(&prepared.warnings);
    crate::run::warn(&ready.warnings);
    crate::run::show_timeline(&ready);
    let (stage, staged, nodes) = (ready.stage.display(), ready.staged, ready.nodes);
    cli.say(&format!("staged in {stage} on {staged} of {nodes} nodes"));
    Ok(Some(Staged::ByStep(step, sweeper, ready)))
}

/// Waits for the stage; `None` when the bundles cover nothing that the job uses.
fn until_ready(step: &mut Step, inbox: &Inbox) -> Result<Option<Ready>> {
    let mut limit = Some(settings::wait());
    loop {
        match step.wait(inbox, limit)? {
            // MPI works: from here on it takes as long as it takes.
            Event::Started { .. } => limit = None,
            Event::Ready(ready) => return Ok(Some(ready)),
            Event::Nothing { .. } => return Ok(None),
            _ => return Err(unexpected()),
        }
    }
}

/// Removes what a step has left behind that could not do so itself: launchers kill all of a step when one of its
/// processes dies.
struct Sweeper {
    words: Vec<OsString>,
}

impl Sweeper {
    fn new(cli: &Cli, plan: &StagingPlan, helper: &Path) -> Self {
        let mut words = plan.step.clone();
        words.extend([helper.into(), "--root".into(), cli.root.clone().into()]);
        Self { words }
    }

    /// The helper on all nodes, with the place and no more.
    fn helper(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        launch_env::for_step(&mut command);
        command
    }

    /// Starts it once more, only to clean up. Nothing can be done where that fails: the next staging does it then.
    fn sweep(&self) {
        let mut command = self.helper();
        command.arg("--sweep").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return };
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            if begun.elapsed() > SWEEPING {
                if let Some(group) = Pid::from_raw(child.id() as i32) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn unexpected() -> Error {
    Error::Unavailable("the staging step said something unexpected".into())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
