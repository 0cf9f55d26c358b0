//! Runs `pyshm-run`: stages what a command needs, runs the command with the stage, and removes the stage.
//!
//! The first word of COMMAND chooses the mode: [`launcher_command`] for a launcher, [`plain_command`] for any other
//! command. The variables of a rank do not choose the mode, since a batch script may have them too. The shim replaces a
//! program into which it is preloaded by [`preload_entry`]. If staging fails, the command runs from the shared file
//! system ([`fallback`]).
#![forbid(unsafe_code)]

pub mod cli;
pub mod command;
pub mod fallback;
pub mod inbox;
mod job_key;
pub mod modes;
mod request;
pub mod select;
pub mod step;
pub mod summary;

use std::process::ExitCode;

use clap::Parser;
use pyshm_format::launch;

use crate::error::Result;
use crate::launchers::{Environment, launch_env};
use crate::run::cli::{Cli, Reroute};
use crate::run::command::child::{Ended, Watch};
use crate::run::command::{child, signal_probe};
use crate::run::modes::{launcher_command, plain_command, preload_entry};
use crate::run::step::helper;
use crate::{exit_codes, install, launchers};

/// Runs `pyshm-run`, or the part for which pyshm itself has started it: the helper, the signal probe or a preload
/// entry.
#[must_use]
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == helper::ARGUMENT => {
            return helper::main(arguments.next().as_deref());
        }
        Some(first) if first == signal_probe::ARGUMENT => return signal_probe::main(),
        Some(first) if first == launch::AS_LAUNCHER => {
            return preload_entry::run_launcher(arguments);
        }
        Some(first) if first == launch::AS_RANK => return preload_entry::run_rank(arguments),
        _ => {}
    }
    let cli = Cli::parse();
    if let Some(option) = cli.command[0].to_str().filter(|word| word.starts_with('-')) {
        warn_line!("pyshm-run: there is no option '{option}': see 'pyshm-run --help'");
        return exit_codes::USAGE.into();
    }
    child::exit_like(run(&cli))
}

fn run(cli: &Cli) -> Result<Ended> {
    let is_told = || launchers::is_told_by_user(&Environment::current(install::SITE));
    if cli.reroute == Reroute::Off {
        let mut command = cli.start(&cli.command);
        launch_env::leave_alone_if_preloaded(&mut command);
        child::run(&mut command, Watch::Exit, &inbox::Inbox::open()?)
    } else if launchers::is_launcher(&cli.command[0]) || is_told() {
        launcher_command::run(cli)
    } else {
        plain_command::run(cli)
    }
}
