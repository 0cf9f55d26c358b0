//! Implements `pyshm module`, which prints modulefiles.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Error, Result, one_line};
use crate::install::layout;
use crate::install::modulefile::{GENERAL, Module, System};

const AFTER_HELP: &str = "\
Without --bundle, pyshm module prints the general module. It adds the programs to PATH and the library to LD_PRELOAD, so that \
every program that is started loads the library. 'pyshm install' has put this module into share/modulefiles already.

With --bundle, pyshm module prints the module of an environment. It adds bundles to PYSHM_BUNDLES, and is loaded in addition to \
the general module. Of several such modules, the bundles of the module that is loaded last win.

Examples:
  pyshm module lmod > /apps/modules/pyshm/1.0.lua
  pyshm module tcl --config /etc/pyshm.toml > /apps/modules/pyshm/1.0
  pyshm module lmod --name science --module-version 2026 --bundle /apps/science.tar.zst \\
      > /apps/modules/science/2026.lua";

/// `pyshm module`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ModuleCommand {
    /// The module system
    system: System,
    /// The name of the module
    #[arg(long, value_name = "NAME", default_value = GENERAL)]
    name: String,
    /// The module's version for 'module whatis' (default for the general module: the version of pyshm)
    #[arg(long = "module-version", visible_alias = "version", value_name = "VERSION")]
    version: Option<String>,
    /// The module's description for 'module whatis'
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A bundle that the module adds to PYSHM_BUNDLES; may be given several times, later bundles win
    #[arg(long = "bundle", short, value_name = "FILE")]
    bundles: Vec<PathBuf>,
    /// The settings file that applies while the module is loaded (PYSHM_CONFIG)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The installation that jobs use (default: the one that this program belongs to)
    #[arg(long, value_name = "DIR", conflicts_with = "bundles")]
    prefix: Option<PathBuf>,
}

impl ModuleCommand {
    pub(super) fn run(self) -> Result<()> {
        let system = self.system;
        print_line!("{}", self.module()?.text(system)?.trim_end());
        Ok(())
    }

    fn module(self) -> Result<Module> {
        let bundles =
            self.bundles.iter().map(|path| absolute_path(path)).collect::<Result<Vec<_>>>()?;
        let config = self.config.as_deref().map(absolute_path).transpose()?;
        let module = if bundles.is_empty() {
            let prefix = self.prefix.map_or_else(layout::own_prefix, Ok)?;
            Module { name: self.name, config, ..layout::general(&prefix) }
        } else if self.name == GENERAL {
            let text = format!(
                "failed to make the module of an environment: it needs a name other than {GENERAL}; give one with --name"
            );
            return Err(Error::Usage(text));
        } else {
            let description = format!("The Python environment {}, for pyshm", self.name);
            Module { name: self.name, description, config, bundles, ..Module::default() }
        };
        Ok(Module {
            version: self.version.or(module.version),
            description: self.description.unwrap_or(module.description),
            ..module
        })
    }
}

/// Returns the absolute path of a file that the module names; warns if the file does not exist yet.
fn absolute_path(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path)
        .map_err(|e| Error::Usage(format!("failed to use '{}' as a file: {e}", path.display())))?;
    if let Err(e) = std::fs::metadata(&path) {
        warn_line!("pyshm: warning: the module names {}: {}", path.display(), one_line(e));
    }
    Ok(path)
}
