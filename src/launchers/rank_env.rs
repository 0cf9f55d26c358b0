//! Reads from a rank's environment the name of its launch, and the number of the launch's ranks on this node.
//!
//! The rank that leads on a node is the first one to lock the job's record ([`crate::stage::job_record`]), whatever its
//! number. A rank that runs another program or has no shim never locks the record, so the other ranks must not wait for
//! a rank with a fixed number. The number of ranks on the node only tells how many may still arrive.
#![forbid(unsafe_code)]

use crate::launchers::launcher::Look;
use crate::launchers::registry;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a launcher started this process, perhaps with other ranks on the node.
#[must_use]
pub fn is_shared() -> bool {
    is_shared_of(&variable)
}

fn is_shared_of(look: Look<'_>) -> bool {
    registry::all().any(|launcher| launcher.is_shared(look))
}

/// The string `NAME=VALUE` in the environment that only the processes of this rank have.
#[must_use]
pub fn own() -> Option<String> {
    registry::all().find_map(|launcher| launcher.own_rank(&variable))
}

/// The name of the launch to which this rank belongs, if its launcher gives it one.
#[must_use]
pub fn launch() -> Option<String> {
    launch_of(&variable)
}

fn launch_of(look: Look<'_>) -> Option<String> {
    registry::all().find_map(|launcher| launcher.launch(look))
}

/// The number of ranks that the launcher starts on this node, if it tells.
#[must_use]
pub fn local_size() -> Option<usize> {
    local_size_of(&variable)
}

fn local_size_of(look: Look<'_>) -> Option<usize> {
    let by_variable = || {
        let names = registry::all().filter_map(|launcher| launcher.ranks().local_size);
        names.into_iter().find_map(|name| look(name)?.parse().ok())
    };
    by_variable().or_else(|| registry::all().find_map(|l| l.derived_local_size(look)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string())
    }

    #[test]
    fn the_local_size_is_the_launchers_and_not_a_batch_scripts() {
        let of = |pairs: &[(&str, &str)]| local_size_of(&look(pairs));
        assert_eq!(of(&[("MPI_LOCALNRANKS", "4")]), Some(4));
        assert_eq!(of(&[("OMPI_COMM_WORLD_LOCAL_SIZE", "2")]), Some(2));
        assert_eq!(of(&[("PMI_LOCAL_SIZE", "8"), ("PALS_RANKID", "3")]), Some(8));
        assert_eq!(of(&[("JSM_NAMESPACE_LOCAL_SIZE", "6")]), Some(6));
        assert_eq!(of(&[("SLURM_STEP_TASKS_PER_NODE", "8(x2)")]), None);
        let second =
            [("SLURM_STEP_TASKS_PER_NODE", "8,2"), ("SLURM_LOCALID", "0"), ("SLURM_NODEID", "1")];
        assert_eq!(of(&second), Some(2));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_launch_has_the_name_that_its_launcher_gives() {
        let of = |pairs: &[(&str, &str)]| launch_of(&look(pairs));
        let task = [("SLURM_JOB_ID", "7"), ("SLURM_STEP_ID", "2"), ("SLURM_LOCALID", "0")];
        assert_eq!(of(&task), Some("slurm 7.2".into()));
        assert_eq!(of(&[("SLURM_JOB_ID", "7"), ("SLURM_LOCALID", "0")]), None);
        assert_eq!(of(&[("PALS_APID", "x")]), Some("PALS_APID x".into()));
        assert_eq!(of(&[("FLUX_JOB_ID", "f1")]), Some("FLUX_JOB_ID f1".into()));
    }

    #[test]
    fn a_step_of_one_task_is_shared_with_nobody() {
        let of = |pairs: &[(&str, &str)]| is_shared_of(&look(pairs));
        assert!(of(&[("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "2")]));
        assert!(!of(&[("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "1")]));
        assert!(of(&[("PMI_RANK", "0")]) && of(&[("FLUX_TASK_RANK", "1")]));
        assert!(!of(&[("SLURM_JOB_ID", "7")]));
    }
}
