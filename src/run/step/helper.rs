//! The staging helper: `pyshm-run` started anew by itself to find, make and unpack bundles, so that the process that
//! runs the user's command touches none of them, and can be interrupted at any time by ending its helper.
//!
//! It lives until its standard input ends, which also happens when whoever started it is gone, and then lets go of
//! what it holds.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::bundle::Named;
use crate::error::{Error, Result};
use crate::instrument::timeline::Times;
use crate::process::signals::{ENDING, FOR_THE_COMMAND};
use crate::process::{affinity, memory_policy, signals, temp_files};
use crate::program::lookup;
use crate::protocol::events::{Event, Prepared, Ready};
use crate::run::select;
use crate::run::select::command_usage::Unneeded;
use crate::settings;
use crate::stage::hold::Hold;
use crate::stage::{AfterUse, BuildOptions, Freshness, UserDir, job_record, stage_here, teardown};

/// The first argument that makes `pyshm-run` a helper.
pub const ARGUMENT: &str = "__helper";

/// What a helper shall do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Request {
    /// The bundles that the user named.
    pub bundles: Vec<Named>,
    /// What is started; several in a command with contexts.
    pub programs: Vec<OsString>,
    /// Answer with an error when one cannot be started.
    pub check_programs: bool,
    /// The bundles are configured for whatever runs: of them those are staged that the command uses.
    #[serde(default)]
    pub configured: bool,
    /// The command, by which that is decided, and the places of the programs in it.
    #[serde(default)]
    pub command: Vec<OsString>,
    /// Likewise.
    #[serde(default)]
    pub places: Vec<usize>,
    /// All bundles are to be staged, whatever is started.
    #[serde(default)]
    pub decided: bool,
    /// Nobody has asked for anything else: no bundle is made.
    #[serde(default)]
    pub only_configured: bool,
    /// Number of ranks, for the rule whether staging pays.
    pub ranks: usize,
    /// Stage on this node; otherwise only say what to stage.
    pub stage: bool,
    /// The directory of stages.
    pub root: PathBuf,
    /// As in [`BuildOptions`].
    pub threads: usize,
    /// Answer with what this node was busy with.
    #[serde(default)]
    pub timeline: bool,
    /// The stage stays.
    pub keep: bool,
    /// Say more.
    pub verbose: bool,
}

impl Request {
    /// The command that does it.
    ///
    /// # Errors
    /// [`Error::System`] when the request cannot be written down.
    pub fn command(&self) -> Result<Command> {
        let text = serde_json::to_string(self)
            .map_err(|e| Error::system("describe what to stage")(e.into()))?;
        // By this name it is found even if the installation was replaced meanwhile, and without a look-up there.
        let mut command = Command::new("/proc/self/exe");
        command.arg(ARGUMENT).arg(text);
        // What it starts looks at the originals.
        command.env_remove("LD_PRELOAD");
        Ok(command)
    }
}

/// The helper's whole life.
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
    // Kept until the end: marks of use in the cache.
    let kept = work(&request);
    if let Err(error) = &kept {
        Event::failed(error).say();
    }
    let _ = ending.join();
    std::process::ExitCode::SUCCESS
}

fn work(request: &Request) -> Result<Vec<crate::cache::UseMark>> {
    for program in request.programs.iter().filter(|_| request.check_programs) {
        lookup::find(program)?;
    }
    let speaks = request.verbose || std::io::stderr().is_terminal();
    let say = |text: &str| {
        if speaks {
            warn_line!("pyshm-run: {text}");
        }
    };
    let choose = |named| select::choose(named, &request.programs, request.ranks, &say);
    let chosen = match request.configured {
        false => choose(&request.bundles)?,
        true => match select::configured(&request.bundles, &request.command, &request.places)? {
            Ok(chosen) => Ok(chosen),
            // An environment of the user's own, of which the configuration knows nothing.
            Err(Unneeded::NotCovered(_)) if !request.only_configured => choose(&[])?,
            Err(Unneeded::Missing(error)) if request.only_configured => return Err(error.into()),
            // Nobody knows whether it would have covered this one.
            Err(Unneeded::Missing(error)) => match choose(&[])? {
                Ok(mut chosen) => {
                    chosen.warnings.push(error.message);
                    Ok(chosen)
                }
                Err(_) => return Err(error.into()),
            },
            Err(why) => Err(why.to_string()),
        },
    };
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(reason) => {
            Event::Nothing { reason }.say();
            return Ok(Vec::new());
        }
    };
    if !request.stage {
        let id = chosen.id.to_string();
        let interests = chosen.interests.filter(|_| !request.decided);
        let (bundles, fresh, warnings) = (chosen.bundles, chosen.fresh, chosen.warnings);
        Event::Prepared(Prepared { id, bundles, interests, fresh, warnings }).say();
        return Ok(chosen.uses);
    }
    let place = UserDir::open(&request.root)?;
    teardown::register_user_dir(&place);
    let options = BuildOptions {
        threads: request.threads,
        interests: chosen.interests.filter(|_| !request.decided),
        after_use: AfterUse::keep_if(request.keep),
        freshness: Freshness::known_if(chosen.fresh),
        reserve: settings::reserve(),
    };
    let Some(staged) = stage_here(&place, &chosen.id, &chosen.bundles, options)? else {
        let error = covers_nothing(&chosen.bundles);
        if request.configured {
            Event::Nothing { reason: error.to_string() }.say();
            return Ok(Vec::new());
        }
        return Err(error);
    };
    // Of stages that are gone now.
    job_record::sweep(&place);
    teardown::store(Hold::take(&place, &staged.stage, AfterUse::keep_if(request.keep))?);
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
        warnings: [chosen.warnings, staged.warnings.clone()].concat(),
        timeline: if request.timeline { vec![Times::now()] } else { Vec::new() },
    };
    // Its own lease would say for ever that the stage is in use.
    drop(staged);
    Event::Ready(ready).say();
    Ok(chosen.uses)
}

/// No bundle covers what the job uses.
#[must_use]
pub fn covers_nothing(bundles: &[Named]) -> Error {
    let names: Vec<_> = bundles.iter().map(|b| b.path.display().to_string()).collect();
    Error::Usage(format!(
        "{} covers neither the program, nor where it looks for libraries, nor anything in PATH, LD_LIBRARY_PATH, PYTHONPATH, \
         VIRTUAL_ENV or CONDA_PREFIX",
        names.join(", ")
    ))
}
