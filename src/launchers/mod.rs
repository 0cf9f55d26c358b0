//! Reads the command lines of launchers (which word is PROGRAM, which nodes get ranks), plans how the staging step
//! starts one process on each of the same nodes, and reads what a rank's environment says about its launch.
//!
//! ```text
//!  a command ──▶ identify ──▶ a Launcher of the registry ──▶ read: Launch ──▶ plan: StagingPlan
//!  a rank's environment ──▶ rank_env asks every launcher of the registry
//! ```
//!
//! Everything that differs between launchers is in the launcher's own file below [`registry`], behind the trait
//! [`Launcher`]; the rest of pyshm names none of them.
//!
//! Invariants:
//! - An option that is not in a launcher's table is an error that names the option, never a guess (see [`options`]).
//! - Reading a command line starts no process, except that Slurm may be asked for its default MPI, and reads no file
//!   except host files. So tests need no launcher.
#![forbid(unsafe_code)]

mod allocation;
mod environment;
mod hosts;
mod identify;
mod launch;
pub mod launch_env;
mod launcher;
mod mpi;
mod not_understood;
mod options;
mod plan;
pub mod rank_env;
pub mod registry;
#[cfg(test)]
mod testing;

pub use crate::launchers::environment::{Environment, Site};
pub use crate::launchers::identify::{identify, is_launcher, of_allocation};
pub use crate::launchers::launch::{Launch, Nodes};
pub use crate::launchers::launcher::{Launcher, Look, RankVariables};
pub use crate::launchers::mpi::Mpi;
pub use crate::launchers::not_understood::NotUnderstood;
pub use crate::launchers::plan::{StagingPlan, is_told_by_user, plan, programs};
