//! Describes launchers that speak PMIx, such as `srun --mpi=pmix` and Open MPI 5. All of them set the same variables
//! for ranks.
#![forbid(unsafe_code)]

use crate::launchers::launcher::{Launcher, RankVariables};

/// Any launcher that speaks PMIx.
#[derive(Debug)]
pub struct Pmix;

/// Source: PMIx standard 4.1, 3.4.1. The namespace names the launch.
const RANKS: RankVariables =
    RankVariables { rank: "PMIX_RANK", local_size: None, launch: &["PMIX_NAMESPACE"] };

impl Launcher for Pmix {
    fn name(&self) -> &'static str {
        "PMIx"
    }

    fn ranks(&self) -> &'static RankVariables {
        &RANKS
    }
}
