//! What a staging step says on its standard output, one JSON object a line, to the `pyshm-run` that started it.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bundle::Named;
use crate::error::Error;
use crate::exit_codes;
use crate::instrument::timeline::Times;

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// MPI is up.
    Started {
        /// Nodes of the step.
        nodes: usize,
    },
    /// It is decided what to stage; the staging is another's.
    Prepared(Prepared),
    /// There is nothing to stage.
    Nothing {
        /// Why.
        reason: String,
    },
    /// The stage is published.
    Ready(Ready),
    /// Nothing was staged.
    Failed {
        /// Why.
        message: String,
        /// The exit code that belongs to it.
        code: u8,
    },
    /// The stage is gone from every node.
    Purged {
        /// Operations that were answered locally, on all nodes.
        answered: u64,
        /// Operations below a prefix that went to the shared file system.
        passed: u64,
    },
}

/// What to stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The stage's name.
    pub id: String,
    /// The bundles.
    pub bundles: Vec<Named>,
    /// Only bundles that cover one of these are staged; `None` stages all.
    pub interests: Option<Vec<PathBuf>>,
    /// They were compared with their prefixes just now.
    #[serde(default)]
    pub fresh: bool,
    /// What people should know of the bundles.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What was staged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// The stage's directory, the same on every node.
    pub stage: PathBuf,
    /// Nodes of the step.
    pub nodes: usize,
    /// Nodes that have the stage; on the others only the trampoline lies there.
    pub staged: usize,
    /// Bytes of the bundles that were read; 0 when the stage was there already.
    pub bundle_bytes: u64,
    /// Bytes that the files take.
    pub unpacked_bytes: u64,
    /// Seconds until the last chunk had arrived, the slowest node's.
    pub broadcast_seconds: f64,
    /// Seconds until the stage was published, the slowest node's.
    pub unpack_seconds: f64,
    /// Nodes where the stage was there already.
    #[serde(default)]
    pub reused: usize,
    /// Nodes that took bundles from other stages of theirs.
    #[serde(default)]
    pub adopted: usize,
    /// Bytes of files that they took, on the node that took most.
    #[serde(default)]
    pub adopted_bytes: u64,
    /// The stages that they took them from; empty where nodes took from different ones.
    #[serde(default)]
    pub adopted_from: Vec<PathBuf>,
    /// Paths that have changed since the bundles were packed, where a stage was there; ranks find the originals.
    #[serde(default)]
    pub changed: u64,
    /// What went wrong on single nodes, each with the node's name.
    pub failures: Vec<String>,
    /// What people should know of the bundles.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What each node was busy with, where it was asked for.
    #[serde(default)]
    pub timeline: Vec<Times>,
}

impl Event {
    /// The event for an error.
    #[must_use]
    pub fn failed(error: &Error) -> Self {
        Self::Failed { message: error.to_string(), code: error.exit_code() }
    }

    /// Writes the line; a reader that is gone is no error.
    pub fn say(&self) {
        let line = serde_json::to_vec(self).or_else(|e| {
            // Paths that are not UTF-8; who waits for this line must not wait for ever.
            let message = format!("failed to pass on a path: {e}");
            serde_json::to_vec(&Self::Failed { message, code: exit_codes::SYSTEM })
        });
        if let Ok(mut line) = line {
            line.push(b'\n');
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(&line).and_then(|()| out.flush());
        }
    }

    /// Reads a line; `None` for what a launcher or a library wrote there.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }
}

/// A failure that another process reported, with its exit code.
#[must_use]
pub fn reported(message: String, code: u8) -> Error {
    Error::Reported {
        message,
        code: if code == exit_codes::OK { exit_codes::UNAVAILABLE } else { code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_pipe_and_chatter_is_ignored() {
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
