//! Defines how the staging step is started under Slurm, whatever the application's own step asks for: the options of
//! the staging step, and the variables that it must not get.
//!
//! Source: srun(1) of Slurm 22.05, "INPUT ENVIRONMENT VARIABLES".
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Variables that srun reads as options if its command line does not have these options. The list does not have the
/// variables that name the job, its nodes, the network, the kind of MPI and the site's plugins, because the staging
/// step needs those too.
const OPTIONS: &[&str] = &[
    "SLURM_ACCTG_FREQ",
    "SLURM_ARBITRARY_NODELIST",
    "SLURM_BURST_BUFFER",
    "SLURM_COMPRESS",
    "SLURM_CONSTRAINT",
    "SLURM_CLUSTER_CONSTRAINT",
    "SLURM_CONTAINER",
    "SLURM_CORE_SPEC",
    "SLURM_DELAY_BOOT",
    "SLURM_DEPENDENCY",
    "SLURM_DISABLE_STATUS",
    "SLURM_DISTRIBUTION",
    "SLURM_EPILOG",
    "SLURM_EXACT",
    "SLURM_EXCLUSIVE",
    "SLURM_EXPORT_ENV",
    "SLURM_HINT",
    "SLURM_HOSTFILE",
    "SLURM_IMMEDIATE",
    "SLURM_KILL_BAD_EXIT",
    "SLURM_LABELIO",
    "SLURM_MULTI_PROG",
    "SLURM_NPROCS",
    "SLURM_NCORES_PER_SOCKET",
    "SLURM_NSOCKETS_PER_NODE",
    "SLURM_OPEN_MODE",
    "SLURM_OVERCOMMIT",
    "SLURM_POWER",
    "SLURM_PROFILE",
    "SLURM_PROLOG",
    "SLURM_REMOTE_CWD",
    "SLURM_REQ_SWITCH",
    "SLURM_RESV_PORTS",
    "SLURM_SEND_LIBS",
    "SLURM_SIGNAL",
    "SLURM_SPREAD_JOB",
    "SLURM_STDERRMODE",
    "SLURM_STDINMODE",
    "SLURM_STDOUTMODE",
    "SLURM_STEP_GRES",
    "SLURM_TASK_EPILOG",
    "SLURM_TASK_PROLOG",
    "SLURM_TEST_EXEC",
    "SLURM_THREADS",
    "SLURM_THREADS_PER_CORE",
    "SLURM_THREAD_SPEC",
    "SLURM_TIMELIMIT",
    "SLURM_TRES_PER_TASK",
    "SLURM_UNBUFFEREDIO",
    "SLURM_USE_MIN_NODES",
    "SLURM_WAIT",
    "SLURM_WORKING_DIR",
];

/// The beginnings of the names of more such variables, and of variables that make an MPI library look for a GPU and its
/// library in every process.
const PREFIXES: &[&str] = &[
    "SLURM_BCAST",
    "SLURM_CPUS_PER_",
    "SLURM_CPU_BIND",
    "SLURM_CPU_FREQ",
    "SLURM_GPU",
    "SLURM_GRES",
    "SLURM_MEM_BIND",
    "SLURM_MEM_PER_",
    "SLURM_NTASKS",
    "MPICH_GPU_",
    "MPIR_CVAR_ENABLE_GPU",
];

/// Whether a variable, set for the application's step, would shape the staging step.
pub(super) fn shapes_step(name: &OsStr) -> bool {
    OPTIONS.iter().any(|option| name == *option)
        || PREFIXES.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
}

/// Returns the options for one task on each of `count` nodes, beside other steps on these nodes. Each task gets `cpus`
/// processors; if `cpus` is `None`, sites with task affinity give the task one core, on which decompression is slow.
/// `names` are the names of the nodes, if the step does not get all nodes of the allocation.
pub(super) fn options(
    count: usize,
    cpus: Option<usize>,
    names: Option<&[String]>,
) -> Vec<OsString> {
    let count = count.to_string();
    let mut words: Vec<OsString> =
        ["--overlap", "--mem=0", "-N", &count, "-n", &count, "--ntasks-per-node=1"]
            .map(OsString::from)
            .to_vec();
    if let Some(cpus) = cpus {
        words.extend(["-c".into(), cpus.to_string().into()]);
    }
    words.push("--cpu-bind=none".into());
    if let Some(names) = names {
        words.push(format!("--nodelist={}", names.join(",")).into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_takes_every_processor_of_each_node_beside_other_steps() {
        let line = |nodes, cpus, list: Option<&[String]>| {
            let words = options(nodes, cpus, list);
            words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            line(4, Some(64), None),
            "--overlap --mem=0 -N 4 -n 4 --ntasks-per-node=1 -c 64 --cpu-bind=none"
        );
        assert_eq!(
            line(2, None, Some(&["n2".into(), "n3".into()])),
            "--overlap --mem=0 -N 2 -n 2 --ntasks-per-node=1 --cpu-bind=none --nodelist=n2,n3"
        );
    }

    #[test]
    fn variables_that_shape_the_step_are_known_and_those_that_reach_the_nodes_stay() {
        for name in [
            "SLURM_NTASKS",
            "SLURM_NTASKS_PER_NODE",
            "SLURM_CPUS_PER_TASK",
            "SLURM_CPU_BIND_TYPE",
            "SLURM_MEM_PER_CPU",
            "SLURM_GPUS_PER_NODE",
            "SLURM_GRES",
            "SLURM_EXPORT_ENV",
            "SLURM_LABELIO",
            "SLURM_HOSTFILE",
            "MPICH_GPU_SUPPORT_ENABLED",
        ] {
            assert!(shapes_step(OsStr::new(name)), "{name}");
        }
        for name in [
            "SLURM_JOB_ID",
            "SLURM_JOB_NODELIST",
            "SLURM_CONF",
            "SLURM_MPI_TYPE",
            "SLURM_NETWORK",
            "SLURM_JOB_CPUS_PER_NODE",
            "LD_LIBRARY_PATH",
            "PYSHM_RESERVE",
        ] {
            assert!(!shapes_step(OsStr::new(name)), "{name}");
        }
    }
}
