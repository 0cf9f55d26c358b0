//! Reads the settings. The command line takes precedence over a variable, a variable over the file, the file over the
//! default.
//!
//! Invariants:
//! - The process that starts a job reads the settings. Ranks never read settings: they get the values that they need in
//!   their arguments.
//! - A wrong value is reported before anything else happens ([`check`]), and never silently replaced by the default. A
//!   command that must go on in spite of a wrong value, such as `pyshm unstage` in an epilog, prints a warning.
#![forbid(unsafe_code)]

pub mod example;
pub mod file;
pub mod table;
pub mod value;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;
use std::{fmt, io};

use crate::bundle::Named;
use crate::error::{Error, Result};
pub use crate::settings::file::File;
use crate::settings::table::{DefaultValue, Setting, TABLE};
pub use crate::settings::value::variable;

/// The variable that names bundles, with colons between them.
pub const BUNDLES: &str = pyshm_format::launch::ENV_BUNDLES;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This variable.
    Variable(&'static str),
    /// This line of this file.
    File(PathBuf, usize),
    /// No variable and no file sets it.
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

/// Reads the file once; [`check_file`] reports its error.
fn loaded() -> &'static Result<Option<File>> {
    static LOADED: OnceLock<Result<Option<File>>> = OnceLock::new();
    LOADED.get_or_init(|| file::find().map(|path| File::read(&path)).transpose())
}

/// Returns the file, if there is one and it has no mistakes.
fn file() -> Option<&'static File> {
    loaded().as_ref().ok().and_then(Option::as_ref)
}

/// Returns the text that a variable or the file sets, and its origin; `None` where the default applies.
fn set_text(setting: &Setting) -> Option<(OsString, Origin)> {
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

/// Returns the text of a setting's value and its origin; the text is `None` for a [default that
/// varies](DefaultValue::Varies).
#[must_use]
pub fn in_force(setting: &Setting) -> (Option<OsString>, Origin) {
    match set_text(setting) {
        Some((text, origin)) => (Some(text), origin),
        None => (default_text(setting).map(OsString::from), Origin::Default),
    }
}

fn default_text(setting: &Setting) -> Option<&'static str> {
    match setting.default {
        DefaultValue::Text(text) => Some(text),
        DefaultValue::Varies { .. } => None,
    }
}

/// The text of a setting that is set and has its form.
fn valid_text(setting: &Setting) -> Option<OsString> {
    let text = set_text(setting).map(|(text, _)| text);
    text.filter(|text| setting.form.check(text).is_ok())
}

/// The text of a setting that is set and has its form, else the text of the default; `None` where the default varies.
fn text(setting: &Setting) -> Option<String> {
    let text = valid_text(setting).or_else(|| default_text(setting).map(OsString::from));
    text.map(|text| text.to_string_lossy().trim().to_string())
}

fn parsed<T: FromStr>(setting: &Setting) -> Option<T> {
    text(setting)?.parse().ok()
}

/// The default of `--root`.
#[must_use]
pub fn root() -> PathBuf {
    let text = valid_text(&table::ROOT).or_else(|| default_text(&table::ROOT).map(OsString::from));
    text.unwrap_or_default().into()
}

/// The default of `--reroute`.
#[must_use]
pub fn reroute() -> String {
    text(&table::REROUTE).unwrap_or_default()
}

/// The default of `--threads`.
#[must_use]
pub fn threads() -> usize {
    parsed(&table::THREADS).unwrap_or_default()
}

/// The default of `--chunk`.
#[must_use]
pub fn chunk() -> String {
    text(&table::CHUNK).unwrap_or_default()
}

/// The value of a flag; `None` where the default varies.
#[must_use]
pub fn flag(setting: &Setting) -> Option<bool> {
    parsed(setting)
}

/// How long to wait for MPI, or for the rank that stages for its node.
#[must_use]
pub fn wait() -> Duration {
    Duration::from_secs(parsed(&table::WAIT).unwrap_or_default())
}

/// Bytes that stay free for MPI and the application; `None` where the default applies.
#[must_use]
pub fn reserve() -> Option<u64> {
    size(&table::RESERVE)
}

/// The value of a size in bytes; `None` where the default varies.
#[must_use]
pub fn size(setting: &Setting) -> Option<u64> {
    value::size(&text(setting)?).ok()
}

/// The directory of the cache, if one is set.
#[must_use]
pub fn cache() -> Option<PathBuf> {
    valid_text(&table::CACHE).map(PathBuf::from)
}

/// The bundles for jobs that name none, each with its origin.
#[must_use]
pub fn bundles_with_origins() -> Vec<(Named, Origin)> {
    if let Some(value) = variable(BUNDLES) {
        let paths = std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty());
        return paths.map(|path| (Named::file(&path), Origin::Variable(BUNDLES))).collect();
    }
    let Some(file) = file() else { return Vec::new() };
    let origin = |line| Origin::File(file.path.clone(), line);
    file.bundles.iter().map(|(named, line)| (named.clone(), origin(*line))).collect()
}

/// The bundles for jobs that name none.
#[must_use]
pub fn bundles() -> Vec<Named> {
    bundles_with_origins().into_iter().map(|(named, _)| named).collect()
}

/// For each launcher's key, the options of the staging step and their origin.
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
    let of_launcher = step_options().filter(|(name, ..)| *name == launcher);
    of_launcher.flat_map(|(_, words, _)| words).map(OsString::from).collect()
}

/// The path of the settings file, if there is one.
#[must_use]
pub fn path() -> Option<PathBuf> {
    file::find()
}

/// Checks the file, if there is one.
///
/// # Errors
/// As [`File::read`].
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

/// Checks the file and the variables.
///
/// # Errors
/// The first mistake: the file's, or [`Error::Usage`] with a variable's name.
pub fn check() -> Result<()> {
    check_file()?;
    for setting in &TABLE {
        let Some(name) = setting.variable else { continue };
        let Some(value) = variable(name) else { continue };
        setting.form.check(&value).map_err(|why| {
            let value = value.display();
            let text = format!(
                "failed to read settings: {name} is '{value}', which is {why}, or unset it"
            );
            Error::Usage(text)
        })?;
    }
    Ok(())
}
