//! Programs that hand themselves over because the shim is preloaded into them: a launcher before it has done anything,
//! and the first program of a rank whose launcher could not be dealt with.
//!
//! What must stay true:
//! - Whatever is not staged for runs exactly as it was called, in the same process.
//! - It happens once for a launch: who is started from here is told that it is taken care of ([`crate::launchers::launch_env`]).
//! - Nothing is printed but one line where staging fails, or where a program that may use an environment is not staged for
//!   because of what is configured.
//! - What is configured is read here, on the launcher's side; ranks are told.
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
use crate::error::Error;
use crate::launchers::{Environment, Nodes, StagingPlan, launch_env};
use crate::program::lookup;
use crate::run::cli::{Cli, Handed};
use crate::run::inbox::Inbox;
use crate::run::modes::{launcher_command, plain_command};
use crate::run::select::command_usage;
use crate::run::select::command_usage::Unneeded;
use crate::run::{finish, give_up, warn};
use crate::{exit_codes, install, launchers, settings};

/// A program as the kernel was asked to start it.
struct Program {
    file: OsString,
    arg0: OsString,
    rest: Vec<OsString>,
}

impl Program {
    /// What the shim hands over: the file, then the program's arguments from `argv[0]` on.
    fn read(mut words: impl Iterator<Item = OsString>) -> Result<Self, ExitCode> {
        let (Some(file), Some(arg0)) = (words.next(), words.next()) else {
            let option = launch::AS_LAUNCHER;
            warn_line!("pyshm-run: {option} is for the preloaded library's own use");
            return Err(exit_codes::USAGE.into());
        };
        // The kernel takes it from the working directory, a search would not.
        let file = match file.as_bytes().contains(&b'/') {
            true => file,
            false => Path::new(".").join(file).into_os_string(),
        };
        Ok(Self { file, arg0, rest: words.collect() })
    }

    /// Goes on as this program, in this process.
    fn go_on(self, tell: impl FnOnce(&mut Command)) -> ExitCode {
        let mut command = Command::new(&self.file);
        command.arg0(&self.arg0).args(&self.rest);
        tell(&mut command);
        let error = command.exec();
        warn_line!("pyshm-run: {}: {error}", self.file.display());
        match error.kind() {
            io::ErrorKind::NotFound => exit_codes::NOT_FOUND.into(),
            _ => exit_codes::NOT_EXECUTABLE.into(),
        }
    }

    /// The command line that says the same.
    fn cli(&self, bundles: Vec<Named>, decided: bool) -> Option<Cli> {
        let options = ["pyshm-run", "--no-summary", "--"].map(OsString::from);
        let words = options.into_iter().chain([self.file.clone()]).chain(self.rest.iter().cloned());
        let mut cli = Cli::try_parse_from(words).ok()?;
        cli.bundles = NamedBundles(bundles);
        cli.handed = Some(Handed { arg0: self.arg0.clone(), decided });
        Some(cli)
    }
}

/// What is to be done about a launcher.
enum Decision {
    /// It concerns nothing that is configured.
    Nothing,
    /// Its command cannot be rewritten.
    ByRanks(Vec<Named>),
    /// What is configured cannot be read.
    Failed(Box<Cli>, Error),
    /// As this plan says.
    Stage(Box<Cli>, Box<StagingPlan>),
}

/// In a launcher's place.
#[must_use]
pub fn launcher(words: impl Iterator<Item = OsString>) -> ExitCode {
    let program = match Program::read(words) {
        Ok(program) => program,
        Err(code) => return code,
    };
    match decide(&program) {
        Decision::Nothing => program.go_on(launch_env::taken_care_of),
        Decision::ByRanks(bundles) => {
            program.go_on(|command| launch_env::by_ranks(command, &bundles))
        }
        Decision::Failed(cli, error) => match give_up(&cli, error) {
            Ok(()) => program.go_on(launch_env::taken_care_of),
            Err(error) => finish(Err(error)),
        },
        Decision::Stage(cli, plan) => match Inbox::open() {
            Ok(inbox) => finish(launcher_command::run_planned(&cli, &plan, &inbox)),
            Err(_) => program.go_on(launch_env::taken_care_of),
        },
    }
}

fn decide(program: &Program) -> Decision {
    let (configured, broken) = (settings::bundles(), settings::check_file().err());
    if configured.is_empty() && broken.is_none() {
        return Decision::Nothing;
    }
    let Some(mut cli) = program.cli(Vec::new(), true) else { return Decision::Nothing };
    let Ok(launcher) = launchers::identify(Path::new(&program.file)) else {
        return by_ranks(configured);
    };
    let plan = launchers::plan(&cli.command, launcher, &Environment::current(install::SITE));
    let places = match &plan {
        Ok(None) => return Decision::Nothing,
        Ok(Some(plan)) => Some(plan.programs.clone()),
        Err(_) => launchers::programs(&cli.command, launcher),
    };
    // Where its ranks' programs are not known, whatever is configured may be theirs.
    let Some(places) = places else { return by_ranks(configured) };
    let programs = || places.iter().map(|at| cli.command[*at].as_os_str());
    // `srun pyshm-run python`: the ranks do it themselves, with what the user names there.
    if programs().any(is_ours) {
        return Decision::Nothing;
    }
    let needed = command_usage::of(&configured, &cli.command, &places);
    if let Some(error) = broken {
        // What the file would have named is not known.
        return match needed.is_ok() || command_usage::may_use(&cli.command, &places) {
            true => Decision::Failed(Box::new(cli), error),
            false => Decision::Nothing,
        };
    }
    let needed = match needed {
        Ok(needed) => needed,
        Err(Unneeded::Missing(error)) => return Decision::Failed(Box::new(cli), error.into()),
        Err(_) => return Decision::Nothing,
    };
    // One that is not here may be on the nodes; if not, it is for the launcher to say.
    let is_missing = programs().any(|p| lookup::find(p).is_err());
    match plan {
        Ok(Some(plan))
            if !is_missing
                && (plan.nodes == Nodes::Here || launcher_command::helper(&plan).is_ok()) =>
        {
            warn(&needed.missing);
            cli.bundles = NamedBundles(needed.bundles);
            Decision::Stage(Box::new(cli), Box::new(plan))
        }
        _ => Decision::ByRanks(needed.bundles),
    }
}

fn by_ranks(bundles: Vec<Named>) -> Decision {
    if bundles.is_empty() { Decision::Nothing } else { Decision::ByRanks(bundles) }
}

fn is_ours(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default();
    name.as_bytes().starts_with(b"pyshm")
}

/// In the place of a rank's first program.
#[must_use]
pub fn rank(words: impl Iterator<Item = OsString>) -> ExitCode {
    let program = match Program::read(words) {
        Ok(program) => program,
        Err(code) => return code,
    };
    let told = launch_env::bundles_of_ranks();
    let decided = told.is_some();
    let bundles = told.unwrap_or_else(settings::bundles);
    match program.cli(bundles, decided).filter(|cli| !cli.bundles.0.is_empty()) {
        Some(cli) => finish(plain_command::run(&cli)),
        None => program.go_on(launch_env::taken_care_of),
    }
}
