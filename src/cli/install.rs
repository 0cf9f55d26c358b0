//! `pyshm install` and `pyshm completions`.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::Result;
use crate::install::layout;
use crate::{install, run, settings};

const AFTER_HELP: &str = "\
Laid out are bin, lib, libexec, manual pages, completions for bash, zsh and fish, and modulefiles for Lmod and Tcl Environment \
Modules. Nothing outside DIR is touched, and nothing that is in use is written into: it is replaced, so that an installation \
can be done again while jobs run. To remove one, remove DIR.

With a DESTDIR (option or variable) files are put below it, as for a package; they then say DIR alone.

Examples:
  pyshm install --prefix /opt/pyshm                      for everybody, as root
  pyshm install --prefix ~/.local                        for oneself
  DESTDIR=build/package pyshm install --prefix /usr      for a package

Programs of 32 bits are not redirected, but can be started: where LD_PRELOAD is DIR/lib/pyshm/$LIB/libpyshm.so, with '$LIB' as it \
stands here, the loader takes an empty library for them.";

/// `pyshm install`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Install {
    /// Where to install, as it will be seen on all nodes
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
    /// Put all files below this directory instead of / (DESTDIR by default)
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// Do not say what comes next
    #[arg(short, long)]
    quiet: bool,
}

impl Install {
    pub(super) fn run(self) -> Result<()> {
        let destdir = self.destdir.or_else(|| settings::variable("DESTDIR").map(PathBuf::from));
        let commands = [Cli::command(), run::cli::Cli::command()];
        layout::install(&self.prefix, destdir.as_deref(), &commands)?;
        if !self.quiet {
            let prefix = self.prefix.display();
            let modules = layout::MODULEFILES;
            print_line!(
                "for all that a session starts:    module use {prefix}/{modules}; module load pyshm"
            );
            print_line!("for one command:                  {prefix}/bin/pyshm-run COMMAND");
        }
        Ok(())
    }
}

const COMPLETIONS_HELP: &str = "\
'pyshm install' puts them where the shells look for them; this is for other places and shells.

Examples:
  pyshm completions bash >> ~/.bash_completion
  pyshm completions zsh pyshm-run > ~/.zfunc/_pyshm-run";

/// `pyshm completions`
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct Completions {
    /// The shell
    shell: Shell,
    /// Of which program
    #[arg(default_value = "pyshm", value_parser = ["pyshm", "pyshm-run"])]
    program: String,
}

impl Completions {
    pub(super) fn run(&self) {
        let command = match self.program.as_str() {
            "pyshm-run" => run::cli::Cli::command(),
            _ => Cli::command(),
        };
        // Nobody reads it: that is no failure.
        let _ = std::io::stdout().write_all(&install::completions(command, self.shell));
    }
}
