//! What is to be done unless the command line says otherwise: a variable counts before the file, the file before the
//! default.
//!
//! What must stay true:
//! - It is read by who starts a job, never by its ranks: what these need is in their arguments.
//! - Nonsense is never taken for a default in silence: [`check`] says it, by name, before anything is done. Who has to go on
//!   all the same, as an epilog that cleans up, warns.
#![forbid(unsafe_code)]

pub mod example;
pub mod file;
pub mod table;
pub mod value;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::bundle::Named;
use crate::error::{Error, Result};
pub use crate::settings::file::File;
use crate::settings::table::{Setting, TABLE};

/// The variable that names bundles, one behind the other with colons between them.
pub const BUNDLES: &str = pyshm_format::launch::ENV_BUNDLES;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A variable.
    Variable(&'static str),
    /// A line of a file.
    File(PathBuf, usize),
    /// Nobody has said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "{name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => write!(f, "default"),
        }
    }
}

/// A variable that is set and not empty.
#[must_use]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The file, read once. Where it is wrong it says nothing, and [`check`] says why.
fn loaded() -> &'static Result<Option<File>> {
    static LOADED: OnceLock<Result<Option<File>>> = OnceLock::new();
    LOADED.get_or_init(|| file::find().map(|path| File::read(&path)).transpose())
}

fn file() -> Option<&'static File> {
    loaded().as_ref().ok().and_then(Option::as_ref)
}

/// What was said of a setting, and by whom; `None` where its default counts.
fn said(setting: &Setting) -> Option<(OsString, Origin)> {
    let by_variable = || {
        let name = setting.variable?;
        Some((variable(name)?, Origin::Variable(name)))
    };
    let by_file = || {
        let (text, line) = file()?.value(setting)?;
        Some((text, Origin::File(file()?.path.clone(), line)))
    };
    by_variable().or_else(by_file)
}

/// A setting's value as text and where it comes from. A default that is no value is in parentheses.
#[must_use]
pub fn shown(setting: &Setting) -> (OsString, Origin) {
    said(setting).unwrap_or_else(|| (setting.default.into(), Origin::Default))
}

/// The text of a value that makes sense, else of the default.
fn sensible(setting: &Setting) -> OsString {
    let said = said(setting).filter(|(text, _)| setting.form.check(text).is_ok());
    said.map_or_else(|| setting.default.into(), |(text, _)| text)
}

fn sensible_text(setting: &Setting) -> String {
    sensible(setting).to_string_lossy().trim().to_string()
}

/// The default of `--root`.
#[must_use]
pub fn root() -> PathBuf {
    sensible(&table::ROOT).into()
}

/// The default of `--reroute`.
#[must_use]
pub fn reroute() -> String {
    sensible_text(&table::REROUTE)
}

/// The default of `--threads`.
#[must_use]
pub fn threads() -> usize {
    sensible_text(&table::THREADS).parse().unwrap_or_default()
}

/// The default of `--chunk`.
#[must_use]
pub fn chunk() -> String {
    sensible_text(&table::CHUNK)
}

/// A yes or no; `None` where the default is neither.
#[must_use]
pub fn flag(setting: &Setting) -> Option<bool> {
    sensible_text(setting).parse().ok()
}

/// How long MPI, or the rank that stages, is waited for.
#[must_use]
pub fn wait() -> Duration {
    Duration::from_secs(sensible_text(&table::WAIT).parse().unwrap_or_default())
}

/// What stays free for MPI and the application, in bytes; `None` where the default counts.
#[must_use]
pub fn reserve() -> Option<u64> {
    size(&table::RESERVE)
}

/// A size in bytes; `None` where the default is none.
#[must_use]
pub fn size(setting: &Setting) -> Option<u64> {
    value::size(&sensible_text(setting)).ok()
}

/// The cache's directory, if one was named.
#[must_use]
pub fn cache() -> Option<PathBuf> {
    let said = said(&table::CACHE).filter(|(text, _)| table::CACHE.form.check(text).is_ok());
    said.map(|(text, _)| text.into())
}

/// The bundles for jobs that name none, and where each was named.
#[must_use]
pub fn bundles_said() -> Vec<(Named, Origin)> {
    if let Some(value) = variable(BUNDLES) {
        let paths = std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty());
        return paths.map(|path| (Named::file(&path), Origin::Variable(BUNDLES))).collect();
    }
    let Some(file) = file() else { return Vec::new() };
    let origin = |line| Origin::File(file.path.clone(), line);
    file.bundles.iter().map(|(named, line)| (named.clone(), origin(*line))).collect()
}

/// The same bundles alone.
#[must_use]
pub fn bundles() -> Vec<Named> {
    bundles_said().into_iter().map(|(named, _)| named).collect()
}

/// Options that launchers' staging steps are started with, by their families, and where they are said.
pub fn step_options() -> impl Iterator<Item = (&'static str, &'static [String], Origin)> {
    let shown = |file: &'static File| {
        let origin = |line| Origin::File(file.path.clone(), line);
        file.options().map(move |(launcher, words, line)| (launcher, words, origin(line)))
    };
    file().into_iter().flat_map(shown)
}

/// The words that the settings add to the staging step of the launcher with this key.
#[must_use]
pub fn step_options_of(launcher: &str) -> Vec<OsString> {
    let said = step_options().filter(|(name, ..)| *name == launcher);
    said.flat_map(|(_, words, _)| words).map(OsString::from).collect()
}

/// The file that counts, if there is one.
#[must_use]
pub fn path() -> Option<PathBuf> {
    file::find()
}

/// Checks the file, if there is one.
///
/// # Errors
/// What is wrong with it.
pub fn check_file() -> Result<()> {
    if let Err(error) = loaded() {
        return Err(match error {
            Error::NoInput { what, path, cause } => {
                let number = cause.raw_os_error().map(io::Error::from_raw_os_error);
                let cause = number.unwrap_or_else(|| cause.kind().into());
                Error::NoInput { what, path: path.clone(), cause }
            }
            other => Error::Usage(other.to_string()),
        });
    }
    Ok(())
}

/// Checks all of them.
///
/// # Errors
/// The first thing that is nonsense: the file's, or [`Error::Usage`] with a variable's name.
pub fn check() -> Result<()> {
    check_file()?;
    for setting in &TABLE {
        let Some(name) = setting.variable else { continue };
        let Some(value) = variable(name) else { continue };
        setting.form.check(&value).map_err(|why| nonsense(name, &value, &why))?;
    }
    Ok(())
}

fn nonsense(name: &str, value: &OsStr, why: &str) -> Error {
    Error::Usage(format!("{name} is '{}', which {why}, or unset it", value.display()))
}
