//! Defines the request of `pyshm-run` to its staging helper: one JSON text in the helper's arguments. The helper
//! answers with [events](crate::protocol::events).
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bundle::Named;

/// A request to the staging helper.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Which bundles to stage.
    pub selection: Selection,
    /// The user's command.
    pub command: Vec<OsString>,
    /// Positions of the programs in the command; several if a launcher's command has several parts.
    pub programs: Vec<usize>,
    /// What it means when one of these programs is not found.
    pub absent_program: AbsentProgram,
    /// Number of ranks, which decides whether staging is worthwhile.
    pub ranks: usize,
    /// What to do with the bundles.
    pub task: Task,
    /// The directory of stages.
    pub root: PathBuf,
    /// Threads that unpack; 0 takes as many as the process may use.
    pub threads: usize,
    /// Whether the answer contains the timeline of this node.
    pub timeline: bool,
    /// Whether the stage stays after its last user.
    pub keep: bool,
    /// Whether to print what is done.
    pub verbose: bool,
}

impl Request {
    /// The names of the programs that the command starts.
    pub fn program_names(&self) -> impl Iterator<Item = &OsString> {
        self.programs.iter().filter_map(|at| self.command.get(*at))
    }
}

/// How the bundles of a job are selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selection {
    /// The user named these bundles. Those that cover a path that the command uses are staged. It is an error if no
    /// bundle covers such a path.
    Named(Vec<Named>),
    /// The launcher's side has selected these bundles for all ranks: all of them are staged.
    Decided(Vec<Named>),
    /// These bundles are configured for all jobs. Those that the command uses are staged.
    Configured(Vec<Named>, Otherwise),
    /// A bundle is made automatically from the environment in which the program runs.
    Automatic,
}

/// What happens when no configured bundle covers the environment that a command uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Otherwise {
    /// Nothing is staged.
    Nothing,
    /// A bundle is made automatically, as with [`Selection::Automatic`].
    Automatic,
}

/// What it means when a program is not found on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbsentProgram {
    /// The command cannot run.
    Error,
    /// The program may exist on the nodes; the launcher finds out.
    MayBeOnNodes,
}

/// What the helper does with the bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Stages the bundles on this node.
    Stage,
    /// Only makes the bundles and reports their names, for a broadcast to the nodes.
    Prepare,
}
