//! What can keep pyshm from working, asked before a job finds it out: of a node in [`node`] and [`rank`], of the session in
//! [`session`], of launchers and MPI in [`launchers`], of the bundles in [`bundles`].
//!
//! What must stay true: nothing is left behind, and nothing that is found ends the examination.
#![deny(unsafe_code)]

pub mod bundles;
pub mod launchers;
#[allow(unsafe_code, reason = "libc says its version by a function only")]
mod libc_version;
mod node;
mod rank;
pub mod session;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bundle::Size;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Nothing is wrong, but one should know it.
    Note,
    /// Jobs run, but not as they could.
    Warning,
    /// Jobs run from the shared file system, or complain.
    Failure,
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failure => "FAILURE",
        })
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was examined, in a word or two.
    pub what: String,
    /// What was seen, in one line.
    pub cause: String,
    /// What to do about it, in one line; nothing where it is as it should be.
    pub advice: Option<String>,
}

impl Finding {
    fn new(level: Level, what: &str, cause: &str, advice: Option<&str>) -> Self {
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { level, what: line(what), cause: line(cause), advice: advice.map(line) }
    }

    /// It is as it should be.
    #[must_use]
    pub fn ok(what: &str, cause: &str) -> Self {
        Self::new(Level::Ok, what, cause, None)
    }

    /// Worth knowing.
    #[must_use]
    pub fn note(what: &str, cause: &str, advice: &str) -> Self {
        Self::new(Level::Note, what, cause, Some(advice))
    }

    /// Not as it could be.
    #[must_use]
    pub fn warning(what: &str, cause: &str, advice: &str) -> Self {
        Self::new(Level::Warning, what, cause, Some(advice))
    }

    /// It does not work.
    #[must_use]
    pub fn failure(what: &str, cause: &str, advice: &str) -> Self {
        Self::new(Level::Failure, what, cause, Some(advice))
    }
}

/// Examines this node: `root` is where stages are to lie, `needed` what the bundles take there, and `reserve` what stays free
/// where it is not the default.
#[must_use]
pub fn of_node(root: &Path, needed: Size, reserve: Option<u64>) -> Vec<Finding> {
    let mut findings = vec![node::kernel(), node::c_library()];
    findings.extend(node::root(root));
    findings.push(node::room(root, needed, reserve));
    findings.extend(launchers::helpers());
    findings.push(rank::try_one(root));
    findings
}
