//! Describes `jsrun` of IBM Spectrum LSF. pyshm recognises only its ranks, and does not read its command lines.
#![forbid(unsafe_code)]

use crate::launchers::launcher::{Launcher, RankVariables};

/// LSF's Job Step Manager.
#[derive(Debug)]
pub struct Jsrun;

/// Source: IBM Spectrum LSF, Job Step Manager, "jsrun environment variables".
const RANKS: RankVariables = RankVariables {
    rank: "JSM_NAMESPACE_RANK",
    local_size: Some("JSM_NAMESPACE_LOCAL_SIZE"),
    launch: &["JSM_NAMESPACE_ID"],
};

impl Launcher for Jsrun {
    fn name(&self) -> &'static str {
        "jsrun"
    }

    fn ranks(&self) -> &'static RankVariables {
        &RANKS
    }
}
