//! `pyshm-run`: stages what a command needs, runs it on top of that, and cleans up.
//!
//! COMMAND's first word decides how: [`launcher_command`] for a launcher, [`plain_command`] for anything else; never the variables of
//! a rank, which a batch script has as well. Programs that have the shim preloaded and hand themselves over come by
//! [`preload_entry`]. Whatever goes wrong in staging, the command runs from the shared file
//! system after one line of warning, unless `--no-fallback` is given.
#![forbid(unsafe_code)]

pub mod cli;
pub mod command;
pub mod inbox;
mod job_key;
pub mod modes;
pub mod select;
pub mod step;
pub mod summary;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use pyshm_format::{launch, layout};

use crate::bundle::Named;
use crate::error::{Error, Result};
use crate::instrument::timeline;
use crate::launchers::{Environment, launch_env};
use crate::protocol::events::Ready;
use crate::run::cli::{Cli, Reroute};
use crate::run::command::child::Ended;
use crate::run::command::{child, signal_probe};
use crate::run::modes::{launcher_command, plain_command, preload_entry};
use crate::run::step::helper;
use crate::{exit_codes, install, launchers, settings};

/// `pyshm-run`.
#[must_use]
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == helper::ARGUMENT => {
            return helper::main(arguments.next().as_deref());
        }
        Some(first) if first == signal_probe::ARGUMENT => return signal_probe::main(),
        Some(first) if first == launch::AS_LAUNCHER => return preload_entry::launcher(arguments),
        Some(first) if first == launch::AS_RANK => return preload_entry::rank(arguments),
        _ => {}
    }
    let cli = Cli::parse();
    if let Some(option) = cli.command[0].to_str().filter(|word| word.starts_with('-')) {
        warn_line!("pyshm-run: there is no option '{option}': see 'pyshm-run --help'");
        return exit_codes::USAGE.into();
    }
    finish(run(&cli))
}

/// Ends this process as the command has ended, or says why it was not run.
fn finish(ended: Result<Ended>) -> ExitCode {
    match ended {
        Ok(ended) => ended.imitate(),
        Err(Error::Interrupted(signal)) => Ended::Signal(signal).imitate(),
        Err(error) => {
            warn_line!("pyshm-run: {error}");
            error.exit_code().into()
        }
    }
}

fn run(cli: &Cli) -> Result<Ended> {
    let overridden = || launchers::is_told_by_user(&Environment::current(install::SITE));
    if cli.reroute == Reroute::Off {
        let mut command = cli.start(&cli.command);
        launch_env::taken_care_of_if_preloaded(&mut command);
        child::run(&mut command, false, &inbox::Inbox::open()?)
    } else if launchers::is_launcher(&cli.command[0]) || overridden() {
        launcher_command::run(cli)
    } else {
        plain_command::run(cli)
    }
}

/// The bundles of the command line, else those that are configured, and whether these are.
fn bundles_of(cli: &Cli) -> (Vec<Named>, bool) {
    if !cli.bundles.0.is_empty() {
        let undecided = cli.handed.as_ref().is_some_and(|handed| !handed.decided);
        return (cli.bundles.0.clone(), undecided);
    }
    let configured = settings::bundles();
    let any = !configured.is_empty();
    (configured, any)
}

/// The command with the stage's trampoline before each word of `programs`.
fn staged_command(cli: &Cli, programs: &[usize], stage: &Path) -> Vec<OsString> {
    let trampoline = stage.join(layout::TRAMPOLINE);
    let mut command = Vec::with_capacity(cli.command.len() + 2);
    for (i, word) in cli.command.iter().enumerate() {
        if programs.contains(&i) {
            command.push(trampoline.clone().into_os_string());
            if cli.reroute == Reroute::Env {
                command.push("--env".into());
            }
        }
        command.push(word.clone());
    }
    command
}

/// Whether an error concerns the command and not its staging.
fn is_commands_own(error: &Error) -> bool {
    matches!(error.exit_code(), exit_codes::NOT_FOUND | exit_codes::NOT_EXECUTABLE)
        && matches!(
            error,
            Error::CommandNotFound(_) | Error::NotExecutable { .. } | Error::Reported { .. }
        )
}

/// Says what people should know of their bundles.
fn warn(warnings: &[String]) {
    for warning in warnings {
        warn_line!("pyshm-run: warning: {warning}");
    }
}

/// Says what each node was busy with, where that was asked for.
fn show_timeline(ready: &Ready) {
    if !ready.timeline.is_empty() {
        warn_line!(
            "pyshm-run: busy while staging:\n{}",
            timeline::table(&ready.timeline).trim_end()
        );
    }
}

/// Staging failed because of `cause`: one line of warning, or the error itself with `--no-fallback`.
fn give_up(cli: &Cli, cause: Error) -> Result<()> {
    if is_commands_own(&cause) || matches!(cause, Error::Interrupted(_)) || !cli.falls_back() {
        return Err(cause);
    }
    let cause = cause.to_string();
    let line = cause.split_whitespace().collect::<Vec<_>>().join(" ");
    warn_line!("pyshm-run: warning: {line}; running from the shared file system");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::events::Failure;

    fn cli(words: &[&str]) -> Cli {
        Cli::try_parse_from([&["pyshm-run"], words].concat()).unwrap()
    }

    #[test]
    fn the_trampoline_stands_before_the_program() {
        let stage = Path::new("/dev/shm/s");
        let command = staged_command(&cli(&["mpiexec", "-n", "2", "python", "a"]), &[3], stage);
        assert_eq!(command, ["mpiexec", "-n", "2", "/dev/shm/s/bin/pyshm-exec", "python", "a"]);
        let command = staged_command(&cli(&["--reroute", "env", "python", "a"]), &[0], stage);
        assert_eq!(command, ["/dev/shm/s/bin/pyshm-exec", "--env", "python", "a"]);
    }

    #[test]
    fn a_command_that_cannot_run_is_never_fallen_back_from() {
        assert!(give_up(&cli(&["x"]), Error::CommandNotFound("x".into())).is_err());
        let failure = Failure { message: "x: command not found".into(), code: 127 };
        assert!(give_up(&cli(&["x"]), failure.into()).is_err());
        assert!(give_up(&cli(&["x"]), Error::Unavailable("no MPI".into())).is_ok());
        assert!(
            give_up(&cli(&["--no-fallback", "x"]), Error::Unavailable("no MPI".into())).is_err()
        );
    }
}
