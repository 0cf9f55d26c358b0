//! Selects those of the bundles configured for all jobs that a command uses.
//!
//! A bundle is used if the command uses an environment ([`crate::run::select::command_usage`]) and the bundle covers
//! one of these paths ([`coverage`]): the program, a directory where the program looks for libraries (`RPATH`,
//! `LD_LIBRARY_PATH`), a path in `PATH`, `PYTHONPATH`, `PYTHONHOME`, `VIRTUAL_ENV` or `CONDA_PREFIX`, the base of an
//! environment, or a path that the command names.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::bundle::Named;
use crate::cache::prefixes;
use crate::error::{Error, Result};
use crate::protocol::events::Failure;
use crate::run::select::command_usage::Inspector;
use crate::run::select::coverage;
use crate::run::select::interests;

/// The bundles that a command uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UsedBundles {
    /// The bundles, with absolute paths, in the order of the configuration.
    pub bundles: Vec<Named>,
    /// The paths that the command uses. By these paths every node decides which bundles it stages.
    pub interests: Vec<PathBuf>,
    /// Warnings about configured bundles that cannot be read.
    pub unreadable: Vec<String>,
}

/// Why a command uses no bundle; only [`NoneUsed::Unreadable`] is a failure.
#[derive(Debug, Clone, PartialEq)]
pub enum NoneUsed {
    /// The command uses no environment. The text is a message for the user.
    NoEnvironment(String),
    /// The command may use an environment, but no configured bundle covers it. The text is a message for the user.
    NotCovered(String),
    /// No readable bundle covers the environment, and one configured bundle cannot be read, with this error.
    Unreadable(Failure),
}

impl fmt::Display for NoneUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEnvironment(why) | Self::NotCovered(why) => f.write_str(why),
            Self::Unreadable(Failure { message, .. }) => f.write_str(message),
        }
    }
}

/// Selects those of the bundles in `configured` that `command` uses. The command's programs are at the positions
/// `programs`. A bundle that the cache knows is not opened, and nothing is printed.
///
/// # Errors
/// The reason why the command uses no bundle.
pub fn used_by(
    configured: &[Named],
    command: &[OsString],
    programs: &[usize],
) -> Result<UsedBundles, NoneUsed> {
    let (mut bundles, mut known, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = None;
    let absolute: Vec<Named> = configured.iter().filter_map(|named| absolute(named).ok()).collect();
    for (named, summary) in absolute.iter().zip(prefixes::summaries(&absolute)) {
        match summary {
            Ok(summary) => {
                bundles.push(named.clone());
                known.push(summary);
            }
            Err(error) => {
                let (message, code) = (error.to_string(), error.exit_code());
                unreadable.push(format!("{message}; it is left out"));
                first.get_or_insert(Failure { message, code });
            }
        }
    }
    let Some(usage) = Inspector::new(&known).usage(command, programs) else {
        let unreadable: String = unreadable.iter().map(|text| format!(" ({text})")).collect();
        let why = format!("the command uses no environment{unreadable}");
        return Err(NoneUsed::NoEnvironment(why));
    };
    let mut interests = interests::of(&usage.programs);
    interests.extend(usage.named);
    let covering = coverage::needed_for(&known, &interests);
    if covering.is_empty() {
        let why = "no configured bundle covers what the command uses";
        return Err(first.map_or_else(|| NoneUsed::NotCovered(why.into()), NoneUsed::Unreadable));
    }
    let bundles = covering.into_iter().map(|at| bundles[at].clone()).collect();
    Ok(UsedBundles { bundles, interests, unreadable })
}

/// Whether `command` may use an environment, as far as can be told without any bundle.
#[must_use]
pub fn may_use_environment(command: &[OsString], programs: &[usize]) -> bool {
    Inspector::new(&[]).usage(command, programs).is_some()
}

fn absolute(named: &Named) -> Result<Named> {
    let of = |path: &PathBuf| std::path::absolute(path).map_err(Error::read("bundle", path));
    let prefix = named.prefix.as_ref().map(of).transpose()?;
    Ok(Named { path: of(&named.path)?, prefix, layer: named.layer })
}
