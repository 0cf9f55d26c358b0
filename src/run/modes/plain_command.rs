//! A command that is no launcher: it is staged for on this node, without MPI, and run.
//!
//! The same serves a rank: of the ranks of a job on a node the first one leads, the others wait for it and then find
//! the stage without a look at the bundles, the prefix or the installation. The last one out purges.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::launchers::{launch_env, rank_env};
use crate::protocol::events::{Event, Ready};
use crate::run::cli::Cli;
use crate::run::command::child;
use crate::run::command::child::Ended;
use crate::run::inbox::Inbox;
use crate::run::step::Step;
use crate::run::step::helper::Request;
use crate::run::{give_up, job_key, staged_command, summary};
use crate::settings;
use crate::stage::hold::Hold;
use crate::stage::job_record::{JobRecord, LockedRecord};
use crate::stage::{AfterUse, Stage, StageId, UserDir};

/// How long the last one out waits for ranks that the launcher said would come.
const LATE: Duration = Duration::from_secs(10);
/// How long one that goes waits for the record.
const LEAVING: Duration = Duration::from_secs(5);

/// This process's part in the job.
struct Entered {
    place: UserDir,
    key: String,
    hold: Option<Hold>,
    /// What was staged, if this process led.
    ready: Option<Ready>,
}

/// Stages and runs.
///
/// # Errors
/// The command's, and those of staging with `--no-fallback`.
pub fn run(cli: &Cli) -> Result<Ended> {
    let (entered, inbox) = match enter(cli) {
        Ok((entered, inbox)) => (Some(entered), inbox),
        Err((cause, inbox)) => {
            give_up(cli, cause)?;
            (None, inbox)
        }
    };
    let inbox = inbox.map_or_else(Inbox::open, Ok)?;
    let stage = entered.as_ref().and_then(|e| e.hold.as_ref()).map(|h| h.stage().dir.clone());
    let ended = match stage {
        Some(stage) => child::run(&mut staged(cli, &stage), false, &inbox),
        None => child::run(&mut unstaged(cli), false, &inbox),
    };
    if let Some(entered) = entered {
        let (ready, answered) = entered.leave(&inbox);
        if let Some(ready) = ready.filter(|_| cli.sums_up()) {
            warn_line!("pyshm-run: {}", summary::line(&ready, answered));
        }
    }
    ended
}

/// The trampoline for the command, with the command's own name where that is not its file's.
fn staged(cli: &Cli, stage: &Path) -> Command {
    let mut words = staged_command(cli, &[0], stage);
    if let Some(handed) = &cli.handed {
        words.splice(1..1, ["--argv0".into(), handed.arg0.clone()]);
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    launch_env::without_shim(&mut command);
    command
}

/// The command as it is, which as a rank with the shim in it would hand itself over again.
fn unstaged(cli: &Cli) -> Command {
    let mut command = cli.start(&cli.command);
    if cli.handed.is_some() || (launch_env::is_preloaded() && launch_env::context().is_rank) {
        launch_env::taken_care_of(&mut command);
    }
    command
}

type Entering<T> = std::result::Result<T, (Error, Option<Inbox>)>;

/// Finds the stage, or makes it if this is the first one.
fn enter(cli: &Cli) -> Entering<(Entered, Option<Inbox>)> {
    let plain = |e| (e, None);
    let place = UserDir::open(&cli.root).map_err(plain)?;
    let key = job_key::key(cli);
    // Nonsense in it is said by the one that leads.
    let patience = settings::wait();
    let locked = LockedRecord::take(&place, &key, patience).map_err(plain)?.ok_or_else(|| {
        let seconds = patience.as_secs();
        plain(Error::TryAgain(format!(
            "this node's stage was not there after {seconds} s (PYSHM_WAIT)"
        )))
    })?;
    let mut record = locked.read();
    let known =
        record.as_ref().and_then(|r| r.stage.clone()).and_then(|id| StageId::parse(&id).ok());
    let mut hold = known.as_ref().and_then(|id| {
        Hold::take(&place, &Stage::find(&place, id).ok()??, AfterUse::keep_if(cli.keeps())).ok()
    });
    if known.is_some() && hold.is_none() {
        // What the record names is gone.
        record = None;
    }
    let (mut ready, mut inbox) = (None, None);
    let mut record = match record {
        Some(record) => record,
        None => {
            let inbox = inbox.insert(Inbox::open().map_err(plain)?);
            match lead(cli, inbox) {
                Ok(Some((held, said))) => {
                    let stage = Some(held.stage().id.to_string());
                    (hold, ready) = (Some(held), Some(said));
                    JobRecord { stage, ..JobRecord::default() }
                }
                Ok(None) => JobRecord::default(),
                Err(cause) if is_final(&cause) => {
                    locked.remove(&place);
                    return Err((cause, None));
                }
                Err(cause) => {
                    if let Err(error) = give_up(cli, cause) {
                        locked.remove(&place);
                        return Err((error, None));
                    }
                    JobRecord::default()
                }
            }
        }
    };
    record.arrived += 1;
    if let Err(error) = locked.write(&record) {
        hold.map(Hold::release);
        locked.remove(&place);
        return Err((error, inbox));
    }
    Ok((Entered { place, key, hold, ready }, inbox))
}

/// Errors after which the command is not run, whatever the fallback.
fn is_final(error: &Error) -> bool {
    crate::run::is_commands_own(error) || matches!(error, Error::Interrupted(_))
}

/// Has a helper stage; `None` when there is nothing to stage.
fn lead(cli: &Cli, inbox: &Inbox) -> Result<Option<(Hold, Ready)>> {
    settings::check()?;
    let (bundles, configured) = crate::run::bundles_of(cli);
    let request = Request {
        bundles,
        configured,
        command: cli.command.clone(),
        places: vec![0],
        programs: vec![cli.command[0].clone()],
        check_programs: true,
        only_configured: cli.handed.is_some(),
        decided: cli.handed.as_ref().is_some_and(|handed| handed.decided),
        ranks: rank_env::local_size().unwrap_or(1),
        stage: true,
        root: cli.root.clone(),
        threads: cli.threads,
        timeline: cli.timeline,
        keep: cli.keeps(),
        verbose: cli.verbose,
    };
    stage_by_helper(cli, &request, inbox)
}

/// Runs a helper that stages on this node, and takes over the stage from it.
pub(super) fn stage_by_helper(
    cli: &Cli,
    request: &Request,
    inbox: &Inbox,
) -> Result<Option<(Hold, Ready)>> {
    let mut step = Step::help(request.command()?, inbox)?;
    match step.wait(inbox, None)? {
        Event::Ready(ready) => {
            let place = UserDir::open(&cli.root)?;
            let gone = || {
                Error::TryAgain(format!("the stage {} is gone: try again", ready.stage.display()))
            };
            let id = ready.stage.file_name().and_then(|n| n.to_str()).ok_or_else(gone)?;
            let stage = Stage::find(&place, &StageId::parse(id)?)?.ok_or_else(gone)?;
            let hold = Hold::take(&place, &stage, AfterUse::keep_if(cli.keeps()))?;
            // Only now that the stage has another user may the helper let go of it.
            step.finish(inbox);
            crate::run::warn(&ready.warnings);
            crate::run::show_timeline(&ready);
            cli.say(&format!(
                "staged in {} in {:.1} s",
                ready.stage.display(),
                ready.unpack_seconds
            ));
            Ok(Some((hold, ready)))
        }
        Event::Nothing { reason } => {
            cli.say(&format!("nothing is staged: {reason}"));
            step.finish(inbox);
            Ok(None)
        }
        _ => Err(Error::Unavailable("the staging helper said something unexpected".into())),
    }
}

impl Entered {
    /// Says that this one has gone; the last one purges. Returns what this one had staged, with the number of
    /// operations that were answered locally.
    fn leave(self, inbox: &Inbox) -> (Option<Ready>, Option<u64>) {
        let Self { place, key, hold, ready } = self;
        let begun = Instant::now();
        let mut gone = false;
        loop {
            let Ok(Some(locked)) = LockedRecord::take(&place, &key, LEAVING) else {
                let released = hold.map(Hold::release);
                return (ready, released.map(|r| r.answered));
            };
            let mut record = locked.read().unwrap_or_default();
            if !gone {
                gone = true;
                record.left += 1;
                let _ = locked.write(&record);
            }
            // Ranks that come late shall find the stage: a fast first one must not take it away.
            let others_live = record.arrived > record.left;
            let late = rank_env::local_size().is_some_and(|size| record.arrived < size);
            if !others_live && late && begun.elapsed() < LATE && inbox.ended().is_none() {
                drop(locked);
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            let released = hold.map(Hold::release);
            // A record without a stage belongs to whoever is the last by number.
            if released.map_or(!others_live, |r| r.purged) || !others_live {
                locked.remove(&place);
            }
            return (ready, released.map(|r| r.answered));
        }
    }
}
