//! Stages on this node, without MPI, for a command that is no launcher, and runs the command.
//!
//! The command may be the program of a rank. The first rank of a job on a node leads: it stages. The other ranks wait
//! for the first rank and then find the stage without reading the bundles, the prefix or the installation. The last
//! rank removes the stage.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::launchers::{launch_env, rank_env};
use crate::protocol::events::Ready;
use crate::protocol::request::{AbsentProgram, Task};
use crate::run::cli::Cli;
use crate::run::command::child::{Ended, Watch};
use crate::run::command::{child, trampoline};
use crate::run::fallback;
use crate::run::inbox::Inbox;
use crate::run::job_key;
use crate::run::request;
use crate::run::step::local;
use crate::run::summary;
use crate::settings;
use crate::stage::hold::Hold;
use crate::stage::job_record::{JobRecord, LockedRecord};
use crate::stage::{AfterUse, Stage, StageId, UserDir};

/// How long the last rank waits for ranks that the launcher announced and that have not arrived.
const LATE_RANKS: Duration = Duration::from_secs(10);
/// How long a rank that leaves waits for the job's record.
const LEAVING: Duration = Duration::from_secs(5);

/// This process's part in the job on this node.
struct Participant {
    user_dir: UserDir,
    key: String,
    /// The stage, if there is one.
    hold: Option<Hold>,
    /// Figures about the stage, if this process led and staged.
    ready: Option<Ready>,
}

/// Stages for the command and runs it.
///
/// # Errors
/// The errors of starting the command; with `--no-fallback` also those of staging.
pub fn run(cli: &Cli) -> Result<Ended> {
    // `enter` opens the inbox only if this process leads. Until the inbox is open, a signal ends this process, which is
    // right because there is nothing to clean up.
    let mut inbox = None;
    let participant = match enter(cli, &mut inbox) {
        Ok(participant) => Some(participant),
        Err(cause) => {
            fallback::warn_or_fail(cli, cause)?;
            None
        }
    };
    let inbox = inbox.map_or_else(Inbox::open, Ok)?;
    let hold = participant.as_ref().and_then(|participant| participant.hold.as_ref());
    let mut command = match hold {
        Some(hold) => staged(cli, &hold.stage().dir),
        None => unstaged(cli),
    };
    let ended = child::run(&mut command, Watch::Exit, &inbox);
    if let Some(participant) = participant {
        let (ready, answered) = participant.leave(&inbox);
        if let Some(ready) = ready.filter(|_| cli.sums_up()) {
            warn_line!("pyshm-run: {}", summary::line(&ready, answered));
        }
    }
    ended
}

/// Makes the command that starts the trampoline. A preloaded program keeps its `argv[0]`.
fn staged(cli: &Cli, stage: &Path) -> Command {
    let mut words = trampoline::insert(cli, &[0], stage);
    if let Some(preloaded) = &cli.preloaded {
        words.splice(1..1, ["--argv0".into(), preloaded.arg0.clone()]);
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    launch_env::without_shim(&mut command);
    command
}

/// Makes the command without a stage. A rank into which the shim is preloaded is told not to enter pyshm again.
fn unstaged(cli: &Cli) -> Command {
    let mut command = cli.start(&cli.command);
    if cli.preloaded.is_some() || (launch_env::is_preloaded() && launch_env::context().is_rank) {
        launch_env::leave_alone(&mut command);
    }
    command
}

/// Joins the job on this node: finds the job's stage. If this process is the first one of the job, it opens `inbox` and
/// makes the stage.
fn enter(cli: &Cli, inbox: &mut Option<Inbox>) -> Result<Participant> {
    let user_dir = UserDir::open(&cli.root)?;
    let key = job_key::compute(cli);
    // A wrong setting is no error here, since the process that leads reports it.
    let patience = settings::wait();
    let locked = LockedRecord::take(&user_dir, &key, patience)?.ok_or_else(|| {
        let seconds = patience.as_secs();
        Error::TryAgain(format!(
            "failed to find this node's stage: the rank that stages was not ready after {seconds} s; raise PYSHM_WAIT"
        ))
    })?;
    let mut record = locked.read();
    let known =
        record.as_ref().and_then(|r| r.stage.clone()).and_then(|id| StageId::parse(&id).ok());
    let mut hold = known.as_ref().and_then(|id| {
        let stage = Stage::find(&user_dir, id).ok()??;
        Hold::take(&user_dir, &stage, AfterUse::keep_if(cli.keeps())).ok()
    });
    if known.is_some() && hold.is_none() {
        // The stage that the record names was removed.
        record = None;
    }
    let mut ready = None;
    let mut record = match record {
        Some(record) => record,
        None => match lead(cli, inbox.insert(Inbox::open()?)) {
            Ok(Some((held, staged))) => {
                let stage = Some(held.stage().id.to_string());
                (hold, ready) = (Some(held), Some(staged));
                JobRecord { stage, ..JobRecord::default() }
            }
            Ok(None) => JobRecord::default(),
            Err(cause) => {
                if let Err(error) = fallback::warn_or_fail(cli, cause) {
                    locked.remove(&user_dir);
                    return Err(error);
                }
                JobRecord::default()
            }
        },
    };
    record.arrived += 1;
    if let Err(error) = locked.write(&record) {
        hold.map(Hold::release);
        locked.remove(&user_dir);
        return Err(error);
    }
    Ok(Participant { user_dir, key, hold, ready })
}

/// Stages on this node with a helper process; `None` when there is nothing to stage.
fn lead(cli: &Cli, inbox: &Inbox) -> Result<Option<(Hold, Ready)>> {
    settings::check()?;
    let ranks = rank_env::local_size().unwrap_or(1);
    let selection = request::selection(cli);
    let absent = AbsentProgram::Error;
    let request = request::new(cli, selection, vec![0], absent, ranks, Task::Stage);
    local::stage(cli, &request, inbox)
}

impl Participant {
    /// Leaves the job. The last rank removes the stage. Returns the figures about the stage if this process led, and
    /// the number of operations that were answered locally.
    fn leave(self, inbox: &Inbox) -> (Option<Ready>, Option<u64>) {
        let Self { user_dir, key, hold, ready } = self;
        let begun = Instant::now();
        let mut has_left = false;
        loop {
            let Ok(Some(locked)) = LockedRecord::take(&user_dir, &key, LEAVING) else {
                let released = hold.map(Hold::release);
                return (ready, released.map(|r| r.answered));
            };
            let mut record = locked.read().unwrap_or_default();
            if !has_left {
                has_left = true;
                record.left += 1;
                let _ = locked.write(&record);
            }
            // Late ranks must find the stage, so a rank that ends early waits for them before it removes the stage.
            let others_live = record.arrived > record.left;
            let late = rank_env::local_size().is_some_and(|size| record.arrived < size);
            if !others_live && late && begun.elapsed() < LATE_RANKS && inbox.ended().is_none() {
                drop(locked);
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            let released = hold.map(Hold::release);
            // If there is no stage, only the numbers in the record tell which rank is the last.
            if !others_live || released.is_some_and(|released| released.purged) {
                locked.remove(&user_dir);
            }
            return (ready, released.map(|r| r.answered));
        }
    }
}
