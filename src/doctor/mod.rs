//! Examines what can keep pyshm from working, before a job starts: the session ([`session`]), the bundles
//! ([`bundles`]), the launchers and their MPI ([`launchers`]), and each node ([`node`], [`rank`]).
//!
//! Invariants: an examination leaves no file, stage or process behind, and continues after each finding.
#![deny(unsafe_code)]

pub mod bundles;
pub mod launchers;
#[allow(unsafe_code, reason = "only a function of libc says its version")]
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
    /// Nothing is wrong.
    Ok,
    /// Nothing is wrong, but the user should know about it.
    Note,
    /// Jobs run, but not as well as they could.
    Warning,
    /// Jobs run from the shared file system, or their programs print errors.
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

/// The result of examining one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The thing that was examined, in a word or two.
    pub what: String,
    /// What was seen, in one line.
    pub cause: String,
    /// What the user can do about it, in one line; `None` where nothing is wrong.
    pub advice: Option<String>,
}

impl Finding {
    fn new(level: Level, what: &str, cause: &str, advice: Option<&str>) -> Self {
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { level, what: line(what), cause: line(cause), advice: advice.map(line) }
    }

    /// Makes the finding that nothing is wrong with `what`.
    #[must_use]
    pub fn ok(what: &str, cause: &str) -> Self {
        Self::new(Level::Ok, what, cause, None)
    }

    /// Makes the finding that something about `what` is worth knowing.
    #[must_use]
    pub fn note(what: &str, cause: &str, advice: &str) -> Self {
        Self::new(Level::Note, what, cause, Some(advice))
    }

    /// Makes the finding that jobs do not run as well as they could because of `what`.
    #[must_use]
    pub fn warning(what: &str, cause: &str, advice: &str) -> Self {
        Self::new(Level::Warning, what, cause, Some(advice))
    }

    /// Makes the finding that `what` does not work.
    #[must_use]
    pub fn failure(what: &str, cause: &str, advice: &str) -> Self {
        Self::new(Level::Failure, what, cause, Some(advice))
    }
}

/// Examines this node. `root` is the directory of stages, `needed` the space that the bundles take in it, and `reserve`
/// the bytes that must stay free; if `reserve` is `None`, the default reserve applies.
#[must_use]
pub fn of_node(root: &Path, needed: Size, reserve: Option<u64>) -> Vec<Finding> {
    let mut findings = vec![node::kernel(), node::c_library()];
    findings.extend(node::root(root));
    findings.push(node::room(root, needed, reserve));
    findings.extend(launchers::helpers());
    findings.push(rank::try_one(root));
    findings
}
