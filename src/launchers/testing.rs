//! Provides the functions that the tests of launchers share.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use crate::launchers::environment::{Environment, Site};
use crate::launchers::launch::Launch;
use crate::launchers::not_understood::NotUnderstood;

/// A site without settings, on which every helper is installed.
pub const SITE: Site = Site { step_options: |_| Vec::new(), has_helper: |_| true };

/// Splits a command line at blanks.
pub fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

/// Returns the environment of a node called "login" with these variables, at [`SITE`].
pub fn environment(variables: &[(&str, &str)]) -> Environment {
    environment_at(SITE, variables)
}

/// Returns the environment of a node called "login" with these variables.
pub fn environment_at(site: Site, variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Environment::new(variables, "login".into(), site)
}

/// Returns the words of the staging step.
pub fn step(launch: &Launch) -> String {
    launch.step.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Checks that a command is refused with `part` in the reason.
pub fn refused(read: Result<Launch, NotUnderstood>, part: &str) {
    let reason = read.unwrap_err().to_string();
    assert!(reason.contains(part), "{reason}");
}
