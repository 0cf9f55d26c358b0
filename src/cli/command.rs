//! Parses the command line of `pyshm` and runs its subcommand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::{bundle, cache, config, doctor, install, module, stage, status, verify};
use crate::error::Result;
use crate::{run, settings};

const AFTER_HELP: &str = "\
Examples:
  pyshm bundle env ~/envs/science -o science.tar.zst   pack an environment
  pyshm bundle env ~/envs/science --over science.tar.zst -o more.tar.zst
                                                       pack a layer: only what changed since then
  pyshm inspect science.tar.zst                        show what the bundle holds
  pyshm stage -b science.tar.zst                       stage the bundle on this node, and print where
  pyshm stage -b any.tar.gz --prefix ~/envs/science    a tar that pyshm did not make
  pyshm stage -b science.tar.zst -b more.tar.zst       a bundle and a layer over it
  pyshm verify -b science.tar.zst                      is the bundle whole, and still equal to the prefix?
  pyshm status                                         what is staged here
  pyshm status --all-nodes -- mpiexec -f hosts -n 64   what is staged on the nodes of a job
  pyshm unstage --all                                  remove all your stages from this node
  pyshm config                                         the settings that apply here
  pyshm doctor                                         what keeps pyshm from working here?
  pyshm install --prefix /opt/pyshm                    install pyshm, with manual pages and modulefiles
  pyshm module lmod --name science -b science.tar.zst  a modulefile for an environment
A job needs none of these: see 'pyshm-run --help'.

Exit codes: 0 done, 2 wrong command line, 65 a bundle is damaged or refused, 66 an input does not exist,
69 a part of pyshm is missing, 71 the system failed, 73 a file or stage cannot be written, 75 try again";

/// Packs Python environments and stages them on nodes.
#[derive(Debug, Parser)]
#[command(name = "pyshm", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pack a prefix into a bundle
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Show what a bundle holds
    Inspect(bundle::Inspect),
    /// Compare a bundle, a stage, and the tree from which they were made
    Verify(verify::Verify),
    /// Stage bundles on this node and print the stage's directory: DIRECTORY/bin/pyshm-exec PROGRAM uses the stage
    Stage(stage::StageCommand),
    /// Remove stages from this node
    Unstage(stage::Unstage),
    /// Show the stages of this node
    Status(status::Status),
    /// Remove what crashed or killed jobs left on this node
    Gc(stage::Gc),
    /// Show the settings that apply and where each comes from, or check them
    Config(config::Config),
    /// List and prune the bundles that pyshm-run made automatically
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Find what keeps pyshm from working here, and what to do about it
    Doctor(doctor::Doctor),
    /// Install this pyshm into a directory
    Install(install::Install),
    /// Print a modulefile
    Module(module::ModuleCommand),
    /// Print completions for a shell
    Completions(install::Completions),
}

/// Runs `pyshm` with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    match &command {
        Command::Verify(verify) => return verify.main(),
        Command::Doctor(doctor) => return doctor.main(),
        _ => {}
    }
    let checked = match settings::check() {
        // A job's epilog must clean up even where a settings file is wrong.
        Err(error) if command.ignores_wrong_settings() => {
            warn_line!("pyshm: warning: {error}; the default applies instead");
            Ok(())
        }
        // This command checks settings itself.
        Err(_) if matches!(command, Command::Config(_)) => Ok(()),
        checked => checked,
    };
    match checked.and_then(|()| dispatch(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            warn_line!("pyshm: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

impl Command {
    /// Whether the command runs although settings are wrong.
    fn ignores_wrong_settings(&self) -> bool {
        matches!(self, Self::Inspect(_) | Self::Unstage(_) | Self::Status(_) | Self::Gc(_))
    }
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Bundle(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Stage(command) => command.run(),
        Command::Unstage(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Gc(command) => command.run(),
        Command::Cache(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Install(command) => command.run(&[Cli::command(), run::cli::Cli::command()]),
        Command::Module(command) => command.run(),
        Command::Completions(command) => {
            command.run(|program| match program {
                install::Program::Pyshm => Cli::command(),
                install::Program::PyshmRun => run::cli::Cli::command(),
            });
            Ok(())
        }
        // `main` has run these commands, because they have exit codes of their own.
        Command::Verify(_) | Command::Doctor(_) => Ok(()),
    }
}
