//! Describes HPE's PALS. pyshm recognises only its ranks, and does not read its command lines.
#![forbid(unsafe_code)]

use crate::launchers::launcher::{Launcher, RankVariables};

/// `mpiexec` of PALS, on Cray machines with PBS.
#[derive(Debug)]
pub struct Pals;

/// Source: mpiexec(1) of PALS, and for the local size intro_pmi(3) of Cray PMI.
const RANKS: RankVariables = RankVariables {
    rank: "PALS_RANKID",
    local_size: Some("PMI_LOCAL_SIZE"),
    launch: &["PALS_APID"],
};

impl Launcher for Pals {
    fn name(&self) -> &'static str {
        "PALS"
    }

    fn ranks(&self) -> &'static RankVariables {
        &RANKS
    }
}
