//! What a launcher's command line says.
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
    /// Nodes of the allocation, which the launcher finds itself, and their number where it is known.
    Allocated(Option<usize>),
}

impl Nodes {
    /// The nodes called `names`, which are [`Nodes::Here`] if all of them are this node.
    #[must_use]
    pub fn named(names: Vec<String>, environment: &Environment) -> Self {
        if names.iter().all(|name| hosts::is_same_node(name, environment.node_name())) {
            Self::Here
        } else {
            Self::Named(names)
        }
    }

    /// The number of nodes, where it is known.
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
    /// The nodes that get ranks. With a node too many staging takes longer; with one too few the job fails.
    pub nodes: Nodes,
    /// The number of ranks, where it is known.
    pub ranks: Option<usize>,
    /// The command line that starts one process on each of the nodes, up to where that process's program goes.
    pub step: Vec<OsString>,
}
