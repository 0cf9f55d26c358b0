//! Defines the events that a staging step or helper reports to the `pyshm-run` that started it. The step or helper
//! writes them to its standard output, one JSON object a line.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bundle::Named;
use crate::error::Error;
use crate::exit_codes;
use crate::instrument::timeline::Times;

/// An event, which is one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// MPI has started.
    Started {
        /// Number of nodes in the step.
        nodes: usize,
    },
    /// Chunks have been broadcast since the last event. At most one such event a second is reported.
    Progress {
        /// Bytes of the current bundle that were broadcast.
        bytes: u64,
    },
    /// The bundles are selected and made; another process will stage them.
    Prepared(Prepared),
    /// There is nothing to stage.
    Nothing {
        /// The reason.
        reason: String,
    },
    /// The stage is ready for ranks.
    Ready(Ready),
    /// Staging has failed.
    Failed(Failure),
    /// The stage is removed from every node.
    Purged {
        /// Number of operations that were answered locally, on all nodes.
        answered: u64,
        /// Number of operations below a prefix that went to the shared file system, on all nodes.
        passed: u64,
    },
}

/// The bundles to stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The stage's name.
    pub id: String,
    /// The bundles, in their order.
    pub bundles: Vec<Named>,
    /// Stage only bundles that cover one of these paths; `None` stages all.
    pub interests: Option<Vec<PathBuf>>,
    /// Whether the bundles were compared with their prefixes just now.
    #[serde(default)]
    pub fresh: bool,
    /// Warnings for the user about the bundles.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// An error of the reporting process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The error as a sentence.
    pub message: String,
    /// The exit code that belongs to the error.
    pub code: u8,
}

/// Figures about the stage that is ready.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// The stage's directory, the same on every node.
    pub stage: PathBuf,
    /// Number of nodes in the step.
    pub nodes: usize,
    /// Number of nodes that have the stage. The others have a hollow one.
    pub staged: usize,
    /// Bytes of the bundles that were read; 0 if the stage existed already.
    pub bundle_bytes: u64,
    /// Bytes of the stage's files.
    pub unpacked_bytes: u64,
    /// Seconds until the last chunk had arrived, on the slowest node.
    pub broadcast_seconds: f64,
    /// Seconds until the stage was published, on the slowest node.
    pub unpack_seconds: f64,
    /// Number of nodes that had the stage already.
    #[serde(default)]
    pub reused: usize,
    /// Number of nodes that took bundles from other stages.
    #[serde(default)]
    pub adopted: usize,
    /// Bytes of the files that were taken from other stages, on the node that took most.
    #[serde(default)]
    pub adopted_bytes: u64,
    /// The stages from which nodes took bundles; empty if nodes took from different stages.
    #[serde(default)]
    pub adopted_from: Vec<PathBuf>,
    /// Number of paths that have changed since the bundles were packed; for these paths, ranks get the originals. 0 if
    /// no node had the stage or one of its bundles before.
    #[serde(default)]
    pub changed: u64,
    /// Errors of single nodes, each with the node's name.
    pub failures: Vec<String>,
    /// Warnings for the user about the bundles.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The timeline of each node, if that was requested.
    #[serde(default)]
    pub timeline: Vec<Times>,
}

impl Event {
    /// The event for an error.
    #[must_use]
    pub fn failed(error: &Error) -> Self {
        Self::Failed(Failure { message: error.to_string(), code: error.exit_code() })
    }

    /// Writes the event as a line to standard output. It is no error if nobody reads the line.
    pub fn say(&self) {
        let line = serde_json::to_vec(self).or_else(|e| {
            // This happens if a path is not UTF-8. The process that waits for this line must not wait for ever.
            let message = format!("failed to pass on a path: {e}");
            serde_json::to_vec(&Self::Failed(Failure { message, code: exit_codes::SYSTEM }))
        });
        if let Ok(mut line) = line {
            line.push(b'\n');
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(&line).and_then(|()| out.flush());
        }
    }

    /// Parses a line; `None` if the line is no event, because a launcher or a library wrote it.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }
}

impl From<Failure> for Error {
    fn from(Failure { message, code }: Failure) -> Self {
        let code = if code == exit_codes::OK { exit_codes::UNAVAILABLE } else { code };
        Self::Reported { message, code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_pipe_and_other_lines_are_ignored() {
        let ready = Event::Ready(Ready {
            stage: "/dev/shm/x".into(),
            nodes: 4,
            staged: 3,
            ..Ready::default()
        });
        let line = serde_json::to_string(&ready).unwrap();
        assert!(line.starts_with(r#"{"event":"ready","stage":"/dev/shm/x","nodes":4"#), "{line}");
        assert_eq!(Event::read(&line), Some(ready));
        assert_eq!(Event::read("srun: job 7 queued"), None);
    }
}
