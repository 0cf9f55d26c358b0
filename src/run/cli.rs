//! Defines the command line of `pyshm-run`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::{Parser, ValueEnum};

use crate::bundle::NamedBundles;
use crate::settings;
use crate::settings::table;

const EXAMPLES: &str = "\
Examples:
  pyshm-run mpiexec -n 512 -f hosts python app.py       broadcast, then start the ranks
  pyshm-run -b env.tar.zst srun -n 4096 python app.py   with a bundle made by 'pyshm bundle env'
  pyshm-run -b env.tar.gz --prefix ~/envs/science mpiexec -n 64 python app.py
                                                        with any tar of that directory
  pyshm-run -b env.tar.zst -b more.tar.zst srun -n 64 python app.py
                                                        with a layer made by 'pyshm bundle env --over env.tar.zst'
  pyshm-run python app.py                               on this node, without MPI
  mpiexec -n 8 pyshm-run python app.py                  each node stages for itself

The first word of COMMAND decides where to stage: for a launcher (mpiexec and mpirun of MPICH, Intel MPI and Open \
MPI, prterun, srun) one process on each of its nodes stages before the ranks start; for any other command pyshm-run \
stages on this node.

A bundle given with -b is staged if it covers the program, a directory where the program looks for libraries, or anything \
in PATH, LD_LIBRARY_PATH, PYTHONPATH, VIRTUAL_ENV or CONDA_PREFIX, or if it is a layer over such a bundle. Later bundles \
win: a bundle replaces all that earlier ones have at and below its prefix, a layer only the paths that it contains.

Without -b, the bundles in PYSHM_BUNDLES, else those in the file of settings, are staged if the command uses what \
they cover. Shells, interpreters, scripts and commands that name a path in an environment use the active environment; \
a program of the system, such as hostname, does not. If no bundle covers what is used, the program's interpreter is \
asked for its prefixes, and each of them (never /, /usr and the like) is bundled into a cache once, and again after \
it has changed. Such a bundle is not staged when it is more than 64 times larger than what all ranks read at their \
start (PYSHM_SERIAL_READ for each rank, 64 MiB); -v says so.

Exit status: COMMAND's own; a signal that ends COMMAND ends pyshm-run too. Otherwise
  2 wrong usage; 126 COMMAND or the launcher cannot be executed; 127 it is not found;
and with --no-fallback, when staging failed:
  65 damaged bundle; 66 no such bundle or prefix; 69 the launcher, MPI or its helper failed or is not understood;
  71 a system call failed; 73 no space or no permission; 75 try again.

Environment:
  PYSHM_CONFIG                   a file of settings; else etc/pyshm.toml of the installation, else /etc/pyshm.toml
                                 ('pyshm config' shows the settings in force)
  PYSHM_BUNDLES                  bundles, with colons between them, for commands without -b, and for launchers
                                 with libpyshm.so in LD_PRELOAD
  PYSHM_CACHE, PYSHM_CACHE_MAX   the cache of bundles (~/.cache/pyshm) and its size (20GB)
  PYSHM_ROOT                     the default of --root
  PYSHM_RESERVE                  bytes that stay free in the nodes' memory for MPI and the application (a 16th of the
                                 root's size, at least 64 MB and at most 4 GB)
  PYSHM_WAIT                     seconds without progress after which staging is given up, or for which ranks wait
                                 for the one that stages (300)
  PYSHM_BCAST                    the broadcast helper, instead of the installed one for the launcher's MPI
  PYSHM_BCAST_LAUNCH             the command that starts one process on each of the job's nodes, for commands that
                                 pyshm does not understand; PYSHM_PROGRAM then tells which word is the program";

/// Run COMMAND with its Python environment staged in /dev/shm on every node that it uses
#[derive(Debug, Clone, Parser)]
#[command(name = "pyshm-run", version, after_help = EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "these are command-line flags")]
pub struct Cli {
    /// The bundles to stage.
    #[command(flatten)]
    pub bundles: NamedBundles,

    /// Directory of stages in the nodes' memory
    #[arg(long, value_name = "DIR", default_value_os_t = settings::root())]
    pub root: PathBuf,

    /// How ranks use the stage: by the shim, by environment variables only, or not at all
    #[arg(long, value_name = "HOW", default_value = settings::reroute())]
    pub reroute: Reroute,

    /// Leave the stage on the nodes for later jobs ('pyshm unstage' removes it)
    #[arg(long, overrides_with = "no_keep")]
    keep: bool,

    /// Remove the stage when the job ends (the default)
    #[arg(long, overrides_with = "keep")]
    no_keep: bool,

    /// Run from the shared file system after one warning when staging fails (the default)
    #[arg(long, overrides_with = "no_fallback")]
    fallback: bool,

    /// Do not run COMMAND when staging fails
    #[arg(long, overrides_with = "fallback")]
    no_fallback: bool,

    /// Print a line at the end about what was staged (the default on a terminal)
    #[arg(long, overrides_with = "no_summary")]
    summary: bool,

    /// Print no line at the end
    #[arg(long, overrides_with = "summary")]
    no_summary: bool,

    /// Threads that unpack on each node; 0 takes as many as the process may use
    #[arg(long, value_name = "N", default_value_t = settings::threads())]
    pub threads: usize,

    /// Bytes that are broadcast at once, such as 8MiB; each node keeps eight times as many in memory
    #[arg(long, value_name = "SIZE", default_value = settings::chunk(), value_parser = settings::value::chunk)]
    pub chunk: usize,

    /// Print what each node was busy with while it staged, and when
    #[arg(long)]
    pub timeline: bool,

    /// Print what is done
    #[arg(short, long)]
    pub verbose: bool,

    /// The command and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "COMMAND"
    )]
    pub command: Vec<OsString>,

    /// Set if the shim is preloaded into COMMAND and has replaced COMMAND by `pyshm-run`. Then no user wrote this
    /// command line.
    #[arg(skip)]
    pub preloaded: Option<Preloaded>,
}

/// A program into which the shim is preloaded.
#[derive(Debug, Clone)]
pub struct Preloaded {
    /// The program's `argv[0]`. It may differ from the first word of COMMAND, which is the program's file.
    pub arg0: OsString,
    /// Who selects the program's bundles.
    pub selector: Selector,
}

/// Who selects the bundles of a program into which the shim is preloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// The process that replaced the launcher has selected the bundles for all ranks.
    Launcher,
    /// Each rank selects the configured bundles that its program uses.
    Rank,
}

/// How ranks use the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reroute {
    /// The shim answers file operations
    Shim,
    /// PYTHONHOME, PATH and LD_LIBRARY_PATH point into the stage
    Env,
    /// Nothing is staged
    Off,
}

impl Cli {
    /// Whether COMMAND runs from the shared file system when staging fails.
    #[must_use]
    pub fn falls_back(&self) -> bool {
        self.fallback || !self.no_fallback && settings::flag(&table::FALLBACK).unwrap_or(true)
    }

    /// Whether the stage stays after the job.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.keep || !self.no_keep && settings::flag(&table::KEEP).unwrap_or(false)
    }

    /// Whether to print a line at the end about what was staged.
    #[must_use]
    pub fn sums_up(&self) -> bool {
        let default =
            || settings::flag(&table::SUMMARY).unwrap_or_else(|| std::io::stderr().is_terminal());
        self.summary || !self.no_summary && default()
    }

    /// Makes a command from `words`, which begin with the file of COMMAND. A preloaded program keeps the `argv[0]` with
    /// which it was called.
    #[must_use]
    pub fn start(&self, words: &[OsString]) -> Command {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if let Some(preloaded) = &self.preloaded {
            command.arg0(&preloaded.arg0);
        }
        command
    }

    /// Prints `text` if `--verbose` is given.
    pub fn say(&self, text: &str) {
        if self.verbose {
            warn_line!("pyshm-run: {text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Cli {
        Cli::try_parse_from(words).unwrap()
    }

    #[test]
    fn options_after_the_command_belong_to_the_command() {
        let cli = parse(&["pyshm-run", "-b", "x", "mpiexec", "-n", "4", "python", "-v", "--keep"]);
        assert_eq!(cli.command, ["mpiexec", "-n", "4", "python", "-v", "--keep"]);
        assert!(!cli.keeps() && !cli.verbose);
        let cli = parse(&["pyshm-run", "--", "prog", "--", "-b"]);
        assert_eq!(cli.command, ["prog", "--", "-b"]);
    }

    #[test]
    fn the_last_of_two_opposite_options_counts() {
        assert!(parse(&["pyshm-run", "x"]).falls_back());
        assert!(!parse(&["pyshm-run", "--no-fallback", "x"]).falls_back());
        assert!(parse(&["pyshm-run", "--no-fallback", "--fallback", "x"]).falls_back());
        assert!(parse(&["pyshm-run", "--summary", "x"]).sums_up());
    }

    #[test]
    fn the_help_names_every_exit_code() {
        let help = <Cli as clap::CommandFactory>::command().render_help().to_string();
        for code in ["65", "66", "69", "71", "73", "75", "126", "127"] {
            assert!(help.contains(code), "{code}");
        }
    }
}
