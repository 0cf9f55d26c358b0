//! Installs pyshm into a directory, which has this layout:
//!
//! | below the prefix | what |
//! | --- | --- |
//! | `bin/` | `pyshm`, `pyshm-run` |
//! | `lib/libpyshm.so` | the library |
//! | `lib/pyshm/$LIB/` | what `LD_PRELOAD` names, for programs of 64 and of 32 bits |
//! | `libexec/` | the trampoline, and the broadcast helpers that were built |
//! | `etc/pyshm.toml.example` | a file with every setting, commented out |
//! | `share/man/man1/` | a page for each command |
//! | `share/bash-completion/`, `share/zsh/`, `share/fish/` | completions |
//! | `share/modulefiles/pyshm/` | the general module: Lmod takes `VERSION.lua`, Tcl Environment Modules `VERSION` |
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;

use crate::error::{Error, Result};
use crate::install::modulefile::{Module, System};
use crate::install::parts::{part, shim, trampoline};
use crate::install::tree::InstallTree;
use crate::install::{man, modulefile, preload};
use crate::launchers::Mpi;
use crate::settings;

/// The directory of modulefiles below a prefix.
pub const MODULEFILES: &str = "share/modulefiles";
/// The example of a settings file.
const EXAMPLE: &str = "etc/pyshm.toml.example";
/// `whatis` of the general module.
pub const DESCRIPTION: &str =
    "Starts Python jobs from the nodes' memory, under their original paths";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Installs this pyshm into `prefix`, below `destdir` if `destdir` is given. No installed file names `destdir`.
/// `commands` get manual pages and completions.
///
/// Programs that run from `prefix` keep the files that they have open. If an installation is interrupted, a second
/// installation completes the files.
///
/// # Errors [`Error::Usage`] for a prefix that `LD_PRELOAD` cannot hold, [`Error::Unavailable`] where a part of this
/// installation is missing, [`Error::CannotWrite`].
pub fn install(prefix: &Path, destdir: Option<&Path>, commands: &[Command]) -> Result<()> {
    modulefile::check_prefix(prefix)?;
    let tree = InstallTree::new(prefix, destdir)?;
    let parts = parts()?;
    // The programs are written last, when all parts that the programs need exist.
    for (directory, from) in parts.iter().rev() {
        let bytes = fs::read(from).map_err(Error::read("part of pyshm", from))?;
        let name = from.file_name().unwrap_or_default();
        tree.file(&Path::new(directory).join(name), &bytes, 0o755)?;
    }
    preload::lay_out(&tree)?;
    for command in commands {
        for (name, page) in man::pages(command.clone())? {
            tree.file(&Path::new("share/man/man1").join(name), &page, 0o644)?;
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let Some(path) = man::completion_file(shell, command.get_name()) else { continue };
            let text = man::completions(command.clone(), shell);
            tree.file(Path::new(&path), &text, 0o644)?;
        }
    }
    tree.file(Path::new(EXAMPLE), settings::example::text().as_bytes(), 0o644)?;
    let general = general(prefix);
    let directory = Path::new(MODULEFILES).join(modulefile::GENERAL);
    for (name, system) in [(format!("{VERSION}.lua"), System::Lmod), (VERSION.into(), System::Tcl)]
    {
        tree.file(&directory.join(name), general.text(system)?.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// The general module of an installation in `prefix`.
#[must_use]
pub fn general(prefix: &Path) -> Module {
    Module {
        name: modulefile::GENERAL.into(),
        version: Some(VERSION.into()),
        description: DESCRIPTION.into(),
        prefix: Some(prefix.to_path_buf()),
        ..Module::default()
    }
}

/// Returns the prefix of the running installation.
///
/// # Errors
/// [`Error::Unavailable`] when [`install`] did not install this program.
pub fn own_prefix() -> Result<PathBuf> {
    let exe =
        std::env::current_exe().map_err(Error::system("find the running program's own file"))?;
    let prefix = exe.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    if preload::is_laid_out(prefix) {
        return Ok(prefix.to_path_buf());
    }
    Err(Error::Unavailable(format!(
        "failed to find the installation: {} was not installed by 'pyshm install'; do that first and use the installed \
         pyshm, or name an installation with --prefix",
        exe.display()
    )))
}

/// The files of this installation, each with the directory that it belongs in.
fn parts() -> Result<Vec<(&'static str, PathBuf)>> {
    let mut parts = vec![
        ("bin", part("pyshm")?),
        ("bin", part("pyshm-run")?),
        ("lib", shim()?),
        ("libexec", trampoline()?),
    ];
    let helpers = [Mpi::Mpich, Mpi::OpenMpi];
    parts.extend(helpers.iter().filter_map(|mpi| Some(("libexec", part(mpi.helper()).ok()?))));
    Ok(parts)
}
