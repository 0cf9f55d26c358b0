//! Runs `pyshm-bcast`, the staging step of a job on several nodes, with one process on each node.
//!
//! ```text
//! cli               the command line
//! leaders           one process on each node, and the collective operations of these processes
//! step              the whole step
//!   source          which bundles are broadcast; what rank 0 reads
//!   node            this node's staging session, and the error if staging failed
//!   deliver         one bundle: read, broadcast, unpack
//!   sync_divergence gives the stages of all nodes the same divergence marks
//!   wait_for_end    sleeps until the job ends
//! ```
//!
//! Each leader says whether its node has the stage from an earlier step, and which bundles the node can take from other
//! stages. Rank 0 alone opens the bundles that at least one node needs, each exactly once. It broadcasts each bundle to
//! the nodes that need the bundle. Every leader unpacks what arrives and publishes its node's stage. Then all leaders
//! sleep until rank 0's standard input ends, remove the stage, and exit. Rank 0 reports what happens as
//! [`crate::protocol::events::Event`]s, one JSON object a line.
//!
//! Invariants:
//! - Every leader takes part in every collective operation in the same order, whatever has gone wrong on its node.
//! - Only the main thread calls MPI.
//! - Whatever ends a process, the process removes what it has made on its node.
#![forbid(unsafe_code)]

mod cli;
mod deliver;
mod leaders;
mod node;
mod source;
mod step;
mod sync_divergence;
mod wait_for_end;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

pub use crate::bcast::cli::Cli;
use crate::error::Result;
use crate::process::signals::FOR_THE_COMMAND;
use crate::process::{affinity, memory_policy, orphan, signals};
use crate::stage::{UserDir, collect_garbage, job_record};

/// Runs `pyshm-bcast`.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.sweep {
        return match sweep(&cli.root) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.exit_code().into(),
        };
    }
    // An application may handle the signal of Ctrl-C and go on. So only SIGTERM and the end of the parent end this
    // process.
    let handled = signals::end_on(&[SIGTERM]).and_then(|()| {
        signals::ignore(&[SIGHUP, SIGINT, SIGQUIT])?;
        signals::ignore(&FOR_THE_COMMAND)
    });
    if let Err(error) = handled {
        warn_line!("pyshm-bcast: {error}");
        return error.exit_code().into();
    }
    orphan::end_with_parent();
    affinity::use_all_processors();
    memory_policy::prepare();
    match leaders::join(cli.nodes) {
        Err(error) => {
            warn_line!("pyshm-bcast: {error}");
            error.exit_code().into()
        }
        // This is a second process on a node, and it has waited for the leaders.
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(leaders)) => {
            step::run(&cli, &leaders);
            // The code is success even after a failure, which rank 0 has reported. After another code, some launchers
            // would kill all other processes before these have ended MPI.
            ExitCode::SUCCESS
        }
    }
}

/// Removes from this node the stages and records that nobody uses.
fn sweep(root: &Path) -> Result<()> {
    let user_dir = UserDir::open(root)?;
    let removed = collect_garbage(&user_dir, &[]).map(drop);
    job_record::sweep(&user_dir);
    user_dir.tidy();
    removed
}
