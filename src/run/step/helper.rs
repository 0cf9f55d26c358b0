//! Runs the staging helper: another process of `pyshm-run` that finds, makes and unpacks bundles.
//!
//! The process that runs the user's command touches no bundle itself. So when a signal arrives during staging, that
//! process only has to end the helper. A helper lives until its standard input ends, which also happens when
//! `pyshm-run` dies. Then the helper releases what it holds.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io::{IsTerminal, Read};
use std::process::Command;

use crate::bundle::Named;
use crate::cache::UseMark;
use crate::error::{Error, Result};
use crate::instrument::timeline::Times;
use crate::process::signals::{ENDING, FOR_THE_COMMAND};
use crate::process::{affinity, memory_policy, signals, temp_files};
use crate::program::lookup;
use crate::protocol::events::{Event, Prepared, Ready};
use crate::protocol::request::{AbsentProgram, Request, Selection, Task};
use crate::run::select;
use crate::run::select::{Bundles, Selected};
use crate::settings;
use crate::stage::hold::Hold;
use crate::stage::{AfterUse, BuildOptions, Freshness, UserDir, job_record, stage_here, teardown};

/// The first argument that makes `pyshm-run` a helper.
pub const ARGUMENT: &str = "__helper";

/// Makes the command that runs a helper for `request`.
///
/// # Errors
/// [`Error::System`] when the request cannot be written as text.
pub fn command(request: &Request) -> Result<Command> {
    let text = serde_json::to_string(request)
        .map_err(|e| Error::system("describe what to stage")(e.into()))?;
    // `/proc/self/exe` works even if the installation was replaced meanwhile, and needs no look-up in the installation.
    let mut command = Command::new("/proc/self/exe");
    command.arg(ARGUMENT).arg(text);
    // The programs that a helper starts must see the original files.
    command.env_remove("LD_PRELOAD");
    Ok(command)
}

/// Runs a helper for the request in its argument.
pub fn main(request: Option<&OsStr>) -> std::process::ExitCode {
    let request =
        request.and_then(OsStr::to_str).and_then(|text| serde_json::from_str::<Request>(text).ok());
    let Some(request) = request else {
        warn_line!("pyshm-run: {ARGUMENT} is for pyshm-run's own use");
        return crate::exit_codes::USAGE.into();
    };
    let handled = signals::end_on(&ENDING).and_then(|()| signals::ignore(&FOR_THE_COMMAND));
    if let Err(error) = handled {
        Event::failed(&error).say();
        return error.exit_code().into();
    }
    let ending = std::thread::spawn(|| {
        let mut rest = [0; 64];
        while std::io::stdin().read(&mut rest).is_ok_and(|n| n > 0) {}
        temp_files::remove_all();
        signal_hook::low_level::exit(0);
    });
    affinity::use_all_processors();
    memory_policy::prepare();
    // The marks of use in the cache are kept until this process ends.
    let uses = answer(&request);
    if let Err(error) = &uses {
        Event::failed(error).say();
    }
    let _ = ending.join();
    std::process::ExitCode::SUCCESS
}

/// Does what `request` says and answers with an event. Returns marks of use in the cache.
fn answer(request: &Request) -> Result<Vec<UseMark>> {
    if request.absent_program == AbsentProgram::Error {
        for program in request.program_names() {
            lookup::find(program)?;
        }
    }
    let speaks = request.verbose || std::io::stderr().is_terminal();
    let say = |text: &str| {
        if speaks {
            warn_line!("pyshm-run: {text}");
        }
    };
    let bundles = match select::select(request, &say)? {
        Selected::Bundles(bundles) => *bundles,
        Selected::Nothing { reason } => {
            Event::Nothing { reason }.say();
            return Ok(Vec::new());
        }
    };
    match request.task {
        Task::Prepare => {
            let id = bundles.id.to_string();
            let Bundles { named, interests, fresh, warnings, uses, .. } = bundles;
            Event::Prepared(Prepared { id, bundles: named, interests, fresh, warnings }).say();
            Ok(uses)
        }
        Task::Stage => stage(request, bundles),
    }
}

/// Stages `bundles` on this node and answers when the stage is ready.
fn stage(request: &Request, bundles: Bundles) -> Result<Vec<UseMark>> {
    let user_dir = UserDir::open(&request.root)?;
    teardown::register_user_dir(&user_dir);
    let options = BuildOptions {
        threads: request.threads,
        interests: bundles.interests,
        after_use: AfterUse::keep_if(request.keep),
        freshness: Freshness::known_if(bundles.fresh),
        reserve: settings::reserve(),
    };
    let Some(staged) = stage_here(&user_dir, &bundles.id, &bundles.named, options)? else {
        let error = covers_nothing(&bundles.named);
        if matches!(request.selection, Selection::Configured(..)) {
            Event::Nothing { reason: error.to_string() }.say();
            return Ok(Vec::new());
        }
        return Err(error);
    };
    // Removes the job records of stages that are gone.
    job_record::sweep(&user_dir);
    teardown::store(Hold::take(&user_dir, &staged.stage, AfterUse::keep_if(request.keep))?);
    let ready = Ready {
        stage: staged.stage.dir.clone(),
        nodes: 1,
        staged: 1,
        bundle_bytes: staged.bundle_bytes,
        unpacked_bytes: staged.unpacked_bytes,
        broadcast_seconds: 0.0,
        unpack_seconds: staged.seconds,
        reused: usize::from(staged.reused),
        adopted: usize::from(!staged.adopted_from.is_empty()),
        adopted_bytes: staged.adopted_bytes,
        adopted_from: staged.adopted_from.clone(),
        changed: staged.changed,
        failures: Vec::new(),
        warnings: [bundles.warnings, staged.warnings.clone()].concat(),
        timeline: if request.timeline { vec![Times::now()] } else { Vec::new() },
    };
    // A new stage has its publisher's lease, which would keep the stage in use as long as `staged` lives.
    drop(staged);
    Event::Ready(ready).say();
    Ok(bundles.uses)
}

/// Returns the error for bundles that cover nothing that the job uses.
#[must_use]
pub fn covers_nothing(bundles: &[Named]) -> Error {
    let names: Vec<_> = bundles.iter().map(|b| b.path.display().to_string()).collect();
    Error::Usage(format!(
        "failed to use {}: nothing in it is the program, a directory where the program looks for libraries, or in PATH, \
         LD_LIBRARY_PATH, PYTHONPATH, VIRTUAL_ENV or CONDA_PREFIX; name a bundle of the environment in use",
        names.join(", ")
    ))
}
