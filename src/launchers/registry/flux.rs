//! Describes Flux. pyshm recognises only its ranks, and does not read its command lines.
#![forbid(unsafe_code)]

use crate::launchers::launcher::{Launcher, RankVariables};

/// `flux run`, `flux submit`.
#[derive(Debug)]
pub struct Flux;

/// Source: flux-environment(7), "TASK ENVIRONMENT".
const RANKS: RankVariables =
    RankVariables { rank: "FLUX_TASK_RANK", local_size: None, launch: &["FLUX_JOB_ID"] };

impl Launcher for Flux {
    fn name(&self) -> &'static str {
        "Flux"
    }

    fn ranks(&self) -> &'static RankVariables {
        &RANKS
    }
}
