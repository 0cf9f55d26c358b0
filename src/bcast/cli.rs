//! Defines the command line of `pyshm-bcast`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Parser;

use crate::bundle::NamedBundles;
use crate::settings;
use crate::stage::{AfterUse, BuildOptions, Freshness};

/// Started by pyshm-run with one process on each node of a job; not meant to be started by hand
#[derive(Debug, Clone, Parser)]
#[command(name = "pyshm-bcast", version)]
pub struct Cli {
    /// Directory in the nodes' memory where stages lie
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub(super) root: PathBuf,
    /// The stage's name
    #[arg(long, default_value = "")]
    pub(super) id: String,
    /// Stage nothing, and only remove what a killed step has left; needs no MPI
    #[arg(long)]
    pub(super) sweep: bool,
    /// Number of nodes that the step must have
    #[arg(long, value_name = "N")]
    pub(super) nodes: Option<usize>,
    /// Threads that unpack
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Leave the stage on the nodes
    #[arg(long)]
    keep: bool,
    /// Bytes of one broadcast
    #[arg(long, value_name = "SIZE", default_value = settings::table::DEFAULT_CHUNK, value_parser = settings::value::chunk)]
    pub(super) chunk: usize,
    /// Report what each node was busy with
    #[arg(long)]
    pub(super) timeline: bool,
    /// Bytes that stay free on each node
    #[arg(long, value_name = "BYTES")]
    reserve: Option<u64>,
    /// Do not compare the bundles with their prefixes, because they were compared just now
    #[arg(long)]
    fresh: bool,
    /// Stage only bundles that cover one of these paths
    #[arg(long = "interest", value_name = "PATH")]
    interests: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) bundles: NamedBundles,
}

impl Cli {
    /// Returns the options with which the stage is built.
    pub(super) fn build_options(&self) -> BuildOptions {
        BuildOptions {
            threads: self.threads,
            interests: (!self.interests.is_empty()).then(|| self.interests.clone()),
            after_use: AfterUse::keep_if(self.keep),
            reserve: self.reserve,
            freshness: Freshness::known_if(self.fresh),
        }
    }
}
