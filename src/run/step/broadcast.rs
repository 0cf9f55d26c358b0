//! Stages on all nodes of a job by running `pyshm-bcast` as a step of the job's launcher.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::{Error, Reason, Result, one_line};
use crate::launchers::{StagingPlan, launch_env};
use crate::program::lookup;
use crate::protocol::events::{Event, Prepared, Ready};
use crate::run::cli::Cli;
use crate::run::inbox::Inbox;
use crate::run::step::{Ending, Finished, Stderr, Step, helper, unexpected};
use crate::run::summary;
use crate::{install, settings};

/// How long a sweep may take.
const SWEEP_LIMIT: Duration = Duration::from_secs(3);

/// The running step, which holds the stage on all nodes.
pub struct Broadcast {
    step: Step,
    sweeper: Sweeper,
    /// What the step has staged.
    pub ready: Ready,
}

impl Broadcast {
    /// Stages what is `prepared` with the broadcast helper `program` on the nodes of `plan`. `None` when the bundles
    /// cover nothing that the job uses.
    ///
    /// # Errors
    /// Those of the step. After an error nothing is left on the nodes.
    pub fn start(
        cli: &Cli,
        plan: &StagingPlan,
        program: &Path,
        prepared: &Prepared,
        inbox: &Inbox,
    ) -> Result<Option<Self>> {
        let sweeper = Sweeper::new(cli, plan, program);
        let command = command(cli, plan, &sweeper, prepared);
        let words: Vec<_> =
            std::iter::once(command.get_program()).chain(command.get_args()).collect();
        cli.say(&words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" "));
        let stderr = if cli.verbose { Stderr::Shown } else { Stderr::Kept };
        let mut step = Step::launch(command, inbox, stderr)?;
        let ready = match until_ready(&mut step, inbox) {
            Ok(Some(ready)) => ready,
            Ok(None) if cli.preloaded.is_some() => {
                step.finish(inbox);
                return Ok(None);
            }
            Ok(None) => return Err(helper::covers_nothing(&prepared.bundles)),
            Err(error) => {
                // A step that could report its failure has also cleaned up.
                let reported = matches!(
                    error,
                    Error::Reported { .. } | Error::Usage(_) | Error::Interrupted(_)
                );
                if step.stop() == Ending::Forced || !reported {
                    sweeper.sweep();
                }
                return Err(error);
            }
        };
        if let Some(first) = ready.failures.first().map(one_line) {
            let (without, nodes) = (ready.nodes - ready.staged, ready.nodes);
            if !cli.falls_back() {
                step.finish(inbox);
                let text = format!("failed to stage on {without} of {nodes} nodes: {first}");
                return Err(Error::Unavailable(text));
            }
            warn_line!(
                "pyshm-run: warning: {without} of {nodes} nodes run from the shared file system ({first})"
            );
        }
        summary::warn(&prepared.warnings);
        summary::warn(&ready.warnings);
        summary::show_timeline(&ready);
        let (stage, staged, nodes) = (ready.stage.display(), ready.staged, ready.nodes);
        cli.say(&format!("staged in {stage} on {staged} of {nodes} nodes"));
        Ok(Some(Self { step, sweeper, ready }))
    }

    /// Ends the step, which releases the stage on all nodes. Sweeps if the step could not clean up.
    pub fn finish(self, inbox: &Inbox) -> Finished {
        let finished = self.step.finish(inbox);
        if !finished.clean {
            self.sweeper.sweep();
        }
        finished
    }
}

/// Finds the broadcast helper for the MPI of `plan` and checks that the helper can be executed, because a launcher's
/// message about a missing helper would be hard to understand.
///
/// # Errors
/// [`Error::Unavailable`] when no helper is installed, [`Error::CannotRun`] when the helper cannot be executed.
pub fn program(plan: &StagingPlan) -> Result<PathBuf> {
    let program = install::broadcaster(plan.mpi)?;
    lookup::find(program.as_os_str()).map_err(|error| {
        let what = format!("start the broadcast helper {}", program.display());
        let cause: Reason = match error {
            Error::NotExecutable { cause, .. } => cause.into(),
            _ => "it does not exist".into(),
        };
        Error::cannot_run(what, cause, "set PYSHM_BCAST to one that runs")
    })
}

/// Makes the command that stages what is `prepared`.
fn command(cli: &Cli, plan: &StagingPlan, sweeper: &Sweeper, prepared: &Prepared) -> Command {
    let mut command = sweeper.command();
    command.args(["--id", &prepared.id, "--threads", &cli.threads.to_string()]);
    command.args(["--chunk", &cli.chunk.to_string()]);
    // The reserve is passed as an option, since not every launcher forwards variables.
    if let Some(reserve) = settings::reserve() {
        command.args(["--reserve", &reserve.to_string()]);
    }
    if let Some(nodes) = plan.expected_nodes {
        command.args(["--nodes", &nodes.to_string()]);
    }
    command.args(cli.keeps().then_some("--keep"));
    command.args(prepared.fresh.then_some("--fresh"));
    command.args(cli.timeline.then_some("--timeline"));
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
    command
}

/// Waits for the stage; `None` when the bundles cover nothing that the job uses. Staging may take as long as it needs
/// while it makes progress. A node that hangs stops the broadcast to all nodes, and then the job must not wait.
fn until_ready(step: &mut Step, inbox: &Inbox) -> Result<Option<Ready>> {
    loop {
        match step.wait(inbox, Some(settings::wait()))? {
            Event::Started { .. } | Event::Progress { .. } => {}
            Event::Ready(ready) => return Ok(Some(ready)),
            Event::Nothing { .. } => return Ok(None),
            _ => return Err(unexpected()),
        }
    }
}

/// Removes what a step left on the nodes if the step could not clean up, for example because one of its processes died
/// and the launcher killed the others.
struct Sweeper {
    words: Vec<OsString>,
}

impl Sweeper {
    fn new(cli: &Cli, plan: &StagingPlan, program: &Path) -> Self {
        let mut words = plan.step.clone();
        words.extend([program.into(), "--root".into(), cli.root.clone().into()]);
        Self { words }
    }

    /// Makes the command that runs the broadcast helper on all nodes, with the directory of stages and no other option.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        launch_env::for_step(&mut command);
        command
    }

    /// Runs the broadcast helper once more, only to clean up. If that fails, the next staging on the nodes cleans up.
    fn sweep(&self) {
        let mut command = self.command();
        command.arg("--sweep").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return };
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            if begun.elapsed() > SWEEP_LIMIT {
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
