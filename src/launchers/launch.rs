//! Describes a launch: the programs, nodes and ranks that a launcher's command line names.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use crate::launchers::environment::Environment;
use crate::launchers::hosts;

/// The nodes that get ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// This node only: staging needs no MPI.
    Here,
    /// The nodes with these names.
    Named(Vec<String>),
    /// Nodes of the allocation, which the launcher itself finds, and their number if it is known.
    Allocated(Option<usize>),
}

impl Nodes {
    /// Returns the nodes called `names`; [`Nodes::Here`] if all of them are this node.
    #[must_use]
    pub fn named(names: Vec<String>, environment: &Environment) -> Self {
        if names.iter().all(|name| hosts::is_same_node(name, environment.node_name())) {
            Self::Here
        } else {
            Self::Named(names)
        }
    }

    /// The number of nodes, if it is known.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::Here => Some(1),
            Self::Named(names) => Some(names.len()),
            Self::Allocated(count) => *count,
        }
    }
}

/// A launcher's command line, as the launcher itself would understand it.
#[derive(Debug)]
pub struct Launch {
    /// The index of each PROGRAM in the command: one in each part of `a : b`, none in `mpiexec --version`.
    pub programs: Vec<usize>,
    /// The nodes that get ranks. If a node too many is listed, staging takes longer. If a node is missing, the job
    /// fails.
    pub nodes: Nodes,
    /// The number of ranks, if it is known.
    pub ranks: Option<usize>,
    /// The command line that starts one process on each of the nodes, up to the place where the program of that process
    /// goes.
    pub step: Vec<OsString>,
}
