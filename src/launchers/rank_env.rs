//! By which variables launchers tell a rank what it is: one table, with the source of each line.
//!
//! Who leads on a node is whoever locks the job's record first ([`crate::stage::job_record`]), whatever its number: a rank that runs
//! another program, or none with the shim, must not be waited for. The numbers say how many ranks may still come.
#![forbid(unsafe_code)]

use crate::launchers::hosts;

/// A launcher's variables.
#[derive(Debug)]
pub struct Variables {
    /// The rank, which only a rank has.
    pub rank: &'static str,
    /// How many ranks of the same launch are on this node.
    pub local_size: Option<&'static str>,
    /// What names the launch, the first that is set.
    pub launch: &'static [&'static str],
}

/// The launchers. A rank that several of them have a hand in (Hydra's under Slurm) is all of theirs: the first ones name
/// the launch.
pub const TABLE: &[Variables] = &[
    // srun(1), "OUTPUT ENVIRONMENT VARIABLES". A batch script has no SLURM_STEP_ID.
    Variables { rank: "SLURM_STEP_ID", local_size: None, launch: &[] },
    // PMIx standard 4.1, 3.4.1: the namespace is the launch. Under srun --mpi=pmix and Open MPI 5.
    Variables { rank: "PMIX_RANK", local_size: None, launch: &["PMIX_NAMESPACE"] },
    // Open MPI FAQ, "What environment variables are set"; the other names are its runtime's own.
    Variables {
        rank: "OMPI_COMM_WORLD_RANK",
        local_size: Some("OMPI_COMM_WORLD_LOCAL_SIZE"),
        launch: &["OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_hnp_uri"],
    },
    // Hydra, src/pm/hydra/proxy/pmip_cb.c: PMI_RANK, MPI_LOCALRANKID, MPI_LOCALNRANKS.
    Variables {
        rank: "PMI_RANK",
        local_size: Some("MPI_LOCALNRANKS"),
        launch: &["PMI_JOBID", "PMI_PORT"],
    },
    // mpiexec(1) of HPE's PALS; the local size is Cray PMI's, intro_pmi(3).
    Variables { rank: "PALS_RANKID", local_size: Some("PMI_LOCAL_SIZE"), launch: &["PALS_APID"] },
    // flux-environment(7), "TASK ENVIRONMENT".
    Variables { rank: "FLUX_TASK_RANK", local_size: None, launch: &["FLUX_JOB_ID"] },
    // IBM Spectrum LSF, Job Step Manager, "jsrun environment variables".
    Variables {
        rank: "JSM_NAMESPACE_RANK",
        local_size: Some("JSM_NAMESPACE_LOCAL_SIZE"),
        launch: &["JSM_NAMESPACE_ID"],
    },
];

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

type Look<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether a launcher started this process, perhaps with others on the node.
#[must_use]
pub fn is_shared() -> bool {
    is_shared_of(&variable)
}

fn is_shared_of(look: Look<'_>) -> bool {
    // A step of one task is shared with nobody; a shell in it may start one command after the other.
    let alone = look("SLURM_STEP_NUM_TASKS").is_none_or(|n| n == "1");
    TABLE.iter().any(|v| look(v.rank).is_some() && !(v.rank == "SLURM_STEP_ID" && alone))
}

/// This rank, as the environments of all its processes have it: `NAME=VALUE`.
#[must_use]
pub fn own() -> Option<String> {
    let of_launchers = TABLE.iter().filter(|v| v.rank != "SLURM_STEP_ID");
    of_launchers.map(|v| v.rank).find_map(|name| Some(format!("{name}={}", variable(name)?)))
}

/// Which launch this rank comes from, in the launcher's words.
#[must_use]
pub fn launch() -> Option<String> {
    launch_of(&variable)
}

fn launch_of(look: Look<'_>) -> Option<String> {
    if let (Some(job), Some(step), Some(_)) =
        (look("SLURM_JOB_ID"), look("SLURM_STEP_ID"), look("SLURM_LOCALID"))
    {
        return Some(format!("slurm {job}.{step}"));
    }
    let names = TABLE.iter().flat_map(|v| v.launch);
    names.into_iter().find_map(|name| Some(format!("{name} {}", look(name)?)))
}

/// How many ranks the launcher starts on this node, where it says so.
#[must_use]
pub fn local_size() -> Option<usize> {
    local_size_of(&variable)
}

fn local_size_of(look: Look<'_>) -> Option<usize> {
    let number = |name: &str| look(name)?.parse().ok();
    let slurm = || {
        // Without it, this is a batch script and no rank, and the number is the whole job's.
        look("SLURM_LOCALID")?;
        let node: usize = number("SLURM_NODEID").unwrap_or(0);
        hosts::repeated(&look("SLURM_STEP_TASKS_PER_NODE")?)?.get(node).copied()
    };
    TABLE.iter().find_map(|v| number(v.local_size?)).or_else(slurm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string())
    }

    #[test]
    fn the_shim_tells_a_rank_by_the_same_variables() {
        let mut ours: Vec<&[u8]> = TABLE.iter().map(|v| v.rank.as_bytes()).collect();
        let mut shims: Vec<&[u8]> = pyshm_format::launch::rank_variables().collect();
        ours.sort_unstable();
        shims.sort_unstable();
        assert_eq!(ours, shims);
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
    fn a_launch_has_the_name_that_its_launcher_gives_it() {
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
