//! Runs programs that the preloaded shim has replaced by `pyshm-run`: a launcher, or the first program of a rank if the
//! command of its launcher could not be rewritten.
//!
//! Invariants:
//! - A program for which nothing is staged runs exactly as it was called, in the same process.
//! - Each launch enters pyshm once: variables tell the programs that this module starts that pyshm has taken care of
//!   the launch ([`crate::launchers::launch_env`]).
//! - One line is printed if staging fails, or if the configuration is broken and the program may use an environment.
//!   Otherwise nothing is printed.
//! - The launcher's side reads the configuration and tells the ranks which bundles to stage.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser;
use pyshm_format::launch;

use crate::bundle::{Named, NamedBundles};
use crate::error::{Error, one_line};
use crate::launchers::{Environment, Nodes, StagingPlan, launch_env};
use crate::program::lookup;
use crate::run::cli::{Cli, Preloaded, Selector};
use crate::run::command::child::exit_like;
use crate::run::fallback;
use crate::run::inbox::Inbox;
use crate::run::modes::{launcher_command, plain_command};
use crate::run::select::configured;
use crate::run::select::configured::NoneUsed;
use crate::run::step::broadcast;
use crate::run::summary;
use crate::{exit_codes, install, launchers, settings};

/// A program as the kernel was asked to start it.
struct Program {
    file: OsString,
    arg0: OsString,
    rest: Vec<OsString>,
}

impl Program {
    /// Reads the words that the shim passes: the file, then the program's arguments from `argv[0]` on.
    fn read(mut words: impl Iterator<Item = OsString>) -> Result<Self, ExitCode> {
        let (Some(file), Some(arg0)) = (words.next(), words.next()) else {
            let option = launch::AS_LAUNCHER;
            warn_line!("pyshm-run: {option} is for the preloaded library's own use");
            return Err(exit_codes::USAGE.into());
        };
        // The kernel looks up a bare name in the working directory, but a search along PATH would not.
        let file = if file.as_bytes().contains(&b'/') {
            file
        } else {
            Path::new(".").join(file).into_os_string()
        };
        Ok(Self { file, arg0, rest: words.collect() })
    }

    /// Executes this program in this process, and returns an exit code if that fails. `tell` adds the variables that
    /// inform the program's shim.
    fn exec(self, tell: impl FnOnce(&mut Command)) -> ExitCode {
        let mut command = Command::new(&self.file);
        command.arg0(&self.arg0).args(&self.rest);
        tell(&mut command);
        let error = command.exec();
        warn_line!("pyshm-run: failed to run {}: {}", self.file.display(), one_line(&error));
        match error.kind() {
            io::ErrorKind::NotFound => exit_codes::NOT_FOUND.into(),
            _ => exit_codes::NOT_EXECUTABLE.into(),
        }
    }

    /// Makes the command line of `pyshm-run` for this program, with the `bundles` from which `selector` selects.
    fn cli(&self, bundles: Vec<Named>, selector: Selector) -> Option<Cli> {
        let options = ["pyshm-run", "--no-summary", "--"].map(OsString::from);
        let words = options.into_iter().chain([self.file.clone()]).chain(self.rest.iter().cloned());
        let mut cli = Cli::try_parse_from(words).ok()?;
        cli.bundles = NamedBundles(bundles);
        cli.preloaded = Some(Preloaded { arg0: self.arg0.clone(), selector });
        Some(cli)
    }
}

/// What to do with a launcher.
enum Decision {
    /// The launcher runs without pyshm, since no configured bundle concerns it.
    Nothing,
    /// The ranks stage these bundles, since pyshm cannot rewrite the launcher's command.
    ByRanks(Vec<Named>),
    /// The configuration, or a bundle that is configured, cannot be read.
    Failed(Box<Cli>, Error),
    /// This process stages by this plan.
    Stage(Box<Cli>, Box<StagingPlan>),
}

/// Runs a launcher that the shim has replaced.
#[must_use]
pub fn run_launcher(words: impl Iterator<Item = OsString>) -> ExitCode {
    let program = match Program::read(words) {
        Ok(program) => program,
        Err(code) => return code,
    };
    match decide(&program) {
        Decision::Nothing => program.exec(launch_env::leave_alone),
        Decision::ByRanks(bundles) => {
            program.exec(|command| launch_env::let_ranks_stage(command, &bundles))
        }
        Decision::Failed(cli, error) => match fallback::warn_or_fail(&cli, error) {
            Ok(()) => program.exec(launch_env::leave_alone),
            Err(error) => exit_like(Err(error)),
        },
        Decision::Stage(cli, plan) => match Inbox::open() {
            Ok(inbox) => exit_like(launcher_command::run_planned(&cli, &plan, &inbox)),
            Err(_) => program.exec(launch_env::leave_alone),
        },
    }
}

/// Decides what to do with the launcher `program`.
fn decide(program: &Program) -> Decision {
    let (bundles, broken) = (settings::bundles(), settings::check_file().err());
    if bundles.is_empty() && broken.is_none() {
        return Decision::Nothing;
    }
    let Some(mut cli) = program.cli(Vec::new(), Selector::Launcher) else {
        return Decision::Nothing;
    };
    let Ok(launcher) = launchers::identify(Path::new(&program.file)) else {
        return by_ranks(bundles);
    };
    let plan = launchers::plan(&cli.command, launcher, &Environment::current(install::SITE));
    let positions = match &plan {
        Ok(None) => return Decision::Nothing,
        Ok(Some(plan)) => Some(plan.programs.clone()),
        Err(_) => launchers::programs(&cli.command, launcher),
    };
    // If it is not known which words are the programs, the ranks get all configured bundles.
    let Some(positions) = positions else { return by_ranks(bundles) };
    let programs = || positions.iter().map(|at| cli.command[*at].as_os_str());
    // In `srun pyshm-run python` each rank runs pyshm-run, which stages the bundles that its own options name.
    if programs().any(is_ours) {
        return Decision::Nothing;
    }
    let used = configured::used_by(&bundles, &cli.command, &positions);
    if let Some(error) = broken {
        // The settings file is broken, so the bundles that it names are not known.
        let concerns = used.is_ok() || configured::may_use_environment(&cli.command, &positions);
        return if concerns { Decision::Failed(Box::new(cli), error) } else { Decision::Nothing };
    }
    let used = match used {
        Ok(used) => used,
        Err(NoneUsed::Unreadable(error)) => return Decision::Failed(Box::new(cli), error.into()),
        Err(_) => return Decision::Nothing,
    };
    // A program that this node does not have may exist on the job's nodes. If it does not, the launcher reports that.
    let is_missing = programs().any(|p| lookup::find(p).is_err());
    match plan {
        Ok(Some(plan))
            if !is_missing && (plan.nodes == Nodes::Here || broadcast::program(&plan).is_ok()) =>
        {
            summary::warn(&used.unreadable);
            cli.bundles = NamedBundles(used.bundles);
            Decision::Stage(Box::new(cli), Box::new(plan))
        }
        _ => Decision::ByRanks(used.bundles),
    }
}

/// Decides that the ranks stage `bundles`, if there are any.
fn by_ranks(bundles: Vec<Named>) -> Decision {
    if bundles.is_empty() { Decision::Nothing } else { Decision::ByRanks(bundles) }
}

/// Whether the name of a program shows that it is one of pyshm's.
fn is_ours(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default();
    name.as_bytes().starts_with(b"pyshm")
}

/// Runs the first program of a rank, which the shim has replaced.
#[must_use]
pub fn run_rank(words: impl Iterator<Item = OsString>) -> ExitCode {
    let program = match Program::read(words) {
        Ok(program) => program,
        Err(code) => return code,
    };
    let told = launch_env::bundles_of_ranks();
    let selector = if told.is_some() { Selector::Launcher } else { Selector::Rank };
    let bundles = told.unwrap_or_else(settings::bundles);
    match program.cli(bundles, selector).filter(|cli| !cli.bundles.0.is_empty()) {
        Some(cli) => exit_like(plain_command::run(&cli)),
        None => program.exec(launch_env::leave_alone),
    }
}
