//! Implements `pyshm install`, which installs pyshm, and `pyshm completions`, which prints completions for a shell.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use crate::error::Result;
use crate::install::layout;
use crate::{install, settings};

const AFTER_HELP: &str = "\
Installs bin, lib, libexec, manual pages, completions for bash, zsh and fish, and modulefiles for Lmod and Tcl Environment \
Modules. Nothing outside DIR is touched. Files that are in use are replaced, never written into, so pyshm can be installed \
again while jobs run. To uninstall, remove DIR.

With a DESTDIR (option or variable) the files are written below DESTDIR, as a package needs. No installed file names DESTDIR.

Examples:
  pyshm install --prefix /opt/pyshm                      for all users, as root
  pyshm install --prefix ~/.local                        for yourself
  DESTDIR=build/package pyshm install --prefix /usr      for a package

Set LD_PRELOAD to DIR/lib/pyshm/$LIB/libpyshm.so, with '$LIB' written literally. 32-bit programs then load an empty library, \
so that they start without an error; they are not redirected.";

/// `pyshm install`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Install {
    /// Where to install, as all nodes see it
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
    /// Put all files below this directory instead of / (default: the variable DESTDIR)
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// Do not print what to do next
    #[arg(short, long)]
    quiet: bool,
}

impl Install {
    /// Installs; `commands` get manual pages and completions.
    pub(super) fn run(self, commands: &[Command]) -> Result<()> {
        let destdir = self.destdir.or_else(|| settings::variable("DESTDIR").map(PathBuf::from));
        layout::install(&self.prefix, destdir.as_deref(), commands)?;
        if !self.quiet {
            let prefix = self.prefix.display();
            let modules = layout::MODULEFILES;
            print_line!(
                "for every program of a session:   module use {prefix}/{modules}; module load pyshm"
            );
            print_line!("for one command:                  {prefix}/bin/pyshm-run COMMAND");
        }
        Ok(())
    }
}

const COMPLETIONS_HELP: &str = "\
'pyshm install' puts completions where the shells look for them; this command prints them for other \
places and shells.

Examples:
  pyshm completions bash >> ~/.bash_completion
  pyshm completions zsh pyshm-run > ~/.zfunc/_pyshm-run";

/// `pyshm completions`
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct Completions {
    /// The shell
    shell: Shell,
    /// The program to complete
    #[arg(default_value = "pyshm")]
    program: Program,
}

/// A program that has completions.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Program {
    Pyshm,
    PyshmRun,
}

impl Completions {
    /// Prints the completions of the program, whose command line `command_line` returns.
    pub(super) fn run(&self, command_line: impl Fn(Program) -> Command) {
        let text = install::completions(command_line(self.program), self.shell);
        // It is no failure if the reader closed the pipe.
        let _ = std::io::stdout().write_all(&text);
    }
}
