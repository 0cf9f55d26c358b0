//! `srun`, within an allocation.
//!
//! Which of the allocation's nodes a step with fewer nodes gets is Slurm's choice, made when it starts: all nodes are
//! staged unless the command names its own.
#![forbid(unsafe_code)]

pub mod step_env;

use std::ffi::OsString;
use std::process::{Command, Stdio};

use Arity::{Attached, Flag, Words};
use Class::{Carry, Drop, Place, Refuse};

use crate::install;
use crate::install::Mpi;
use crate::launchers::options::{Arity, Class, Dashes, Opt, Parsed, opt, parse};
use crate::launchers::{Nodes, Parts, World, hosts};

const PER_RANK: Refusal = "gives each group of ranks another program, which is not understood";
type Refusal = &'static str;

/// The options, from the manual of 22.05 to 24.05.
const TABLE: &[Opt] = &[
    opt(&["n", "ntasks"], Words(1), Place),
    opt(&["N", "nodes"], Words(1), Place),
    opt(&["ntasks-per-node"], Words(1), Place),
    opt(&["w", "nodelist"], Words(1), Place),
    opt(&["x", "exclude"], Words(1), Place),
    opt(&["F", "nodefile"], Words(1), Refuse("names nodes by a file, which is not understood")),
    opt(&["r", "relative"], Words(1), Place),
    opt(&["mpi"], Words(1), Carry),
    opt(&["jobid"], Words(1), Carry),
    opt(&["A", "account"], Words(1), Drop),
    opt(&["p", "partition"], Words(1), Drop),
    opt(&["q", "qos"], Words(1), Drop),
    opt(&["t", "time"], Words(1), Drop),
    opt(&["J", "job-name"], Words(1), Drop),
    opt(&["c", "cpus-per-task"], Words(1), Drop),
    opt(&["ntasks-per-core"], Words(1), Drop),
    opt(&["ntasks-per-socket"], Words(1), Drop),
    opt(&["cores-per-socket"], Words(1), Drop),
    opt(&["sockets-per-node"], Words(1), Drop),
    opt(&["threads-per-core"], Words(1), Drop),
    opt(&["hint"], Words(1), Drop),
    opt(&["m", "distribution"], Words(1), Drop),
    opt(&["cpu-bind"], Words(1), Drop),
    opt(&["mem-bind"], Words(1), Drop),
    opt(&["mem"], Words(1), Drop),
    opt(&["mem-per-cpu"], Words(1), Drop),
    opt(&["mem-per-gpu"], Words(1), Drop),
    opt(&["G", "gpus"], Words(1), Drop),
    opt(&["gpus-per-node"], Words(1), Drop),
    opt(&["gpus-per-task"], Words(1), Drop),
    opt(&["gpus-per-socket"], Words(1), Drop),
    opt(&["gpu-bind"], Words(1), Drop),
    opt(&["gpu-freq"], Words(1), Drop),
    opt(&["gres"], Words(1), Drop),
    opt(&["gres-flags"], Words(1), Drop),
    opt(&["tres-per-task"], Words(1), Drop),
    opt(&["tres-bind"], Words(1), Drop),
    opt(&["cpus-per-gpu"], Words(1), Drop),
    opt(&["cpu-freq"], Words(1), Drop),
    opt(&["C", "constraint"], Words(1), Drop),
    opt(&["L", "licenses"], Words(1), Drop),
    opt(&["O", "overcommit"], Flag, Drop),
    opt(&["s", "oversubscribe"], Flag, Drop),
    opt(&["overlap"], Flag, Drop),
    opt(&["exact"], Flag, Drop),
    opt(&["whole"], Flag, Drop),
    opt(&["exclusive"], Attached, Drop),
    opt(&["E", "preserve-env"], Flag, Drop),
    opt(&["export"], Words(1), Drop),
    opt(&["export-file"], Words(1), Drop),
    opt(&["propagate"], Attached, Drop),
    opt(&["prolog"], Words(1), Drop),
    opt(&["epilog"], Words(1), Drop),
    opt(&["task-prolog"], Words(1), Drop),
    opt(&["task-epilog"], Words(1), Drop),
    opt(&["i", "input"], Words(1), Drop),
    opt(&["o", "output"], Words(1), Drop),
    opt(&["e", "error"], Words(1), Drop),
    opt(&["open-mode"], Words(1), Drop),
    opt(&["l", "label"], Flag, Drop),
    opt(&["u", "unbuffered"], Flag, Drop),
    opt(&["pty"], Attached, Drop),
    opt(&["Q", "quiet"], Flag, Drop),
    opt(&["v", "verbose"], Flag, Drop),
    opt(&["K", "kill-on-bad-exit"], Attached, Drop),
    opt(&["k", "no-kill"], Attached, Drop),
    opt(&["W", "wait"], Words(1), Drop),
    opt(&["X", "disable-status"], Flag, Drop),
    opt(&["D", "chdir"], Words(1), Drop),
    opt(&["I", "immediate"], Attached, Drop),
    opt(&["T", "threads"], Words(1), Drop),
    opt(&["Z", "no-allocate"], Flag, Refuse("runs without an allocation")),
    opt(&["profile"], Words(1), Drop),
    opt(&["acctg-freq"], Words(1), Drop),
    opt(&["comment"], Words(1), Drop),
    opt(&["container"], Words(1), Refuse("runs PROGRAM in a container that may not see the stage")),
    opt(&["nice"], Attached, Drop),
    opt(&["signal"], Words(1), Drop),
    opt(&["slurmd-debug"], Words(1), Drop),
    opt(&["V", "version", "h", "help", "usage"], Flag, Drop),
    opt(&["multi-prog"], Flag, Refuse(PER_RANK)),
    opt(&["het-group"], Words(1), Refuse(PER_RANK)),
    opt(&["bcast"], Attached, Refuse("copies PROGRAM to the nodes, which pyshm does as well")),
];

/// What the staging step looks like for this command.
pub(super) fn parts(command: &[OsString], world: &World) -> Result<Parts, String> {
    let parsed = parse(command, TABLE, Dashes::Getopt)?;
    let ranks = parsed.number("n").or_else(|| world.var("SLURM_NTASKS")?.parse().ok());
    let programs: Vec<usize> = parsed.program.into_iter().collect();
    if programs.is_empty() {
        return Ok(Parts { programs: Vec::new(), nodes: Nodes::Here, ranks, step: Vec::new() });
    }
    if world.var("SLURM_JOB_ID").is_none() {
        // A step of its own would get another allocation, perhaps on other nodes.
        return Err(
            "srun outside an allocation is not understood: use it within salloc or sbatch, or as 'srun ... pyshm-run PROGRAM'"
                .into()
        );
    }
    let (list, count) = nodes(&parsed, world)?;
    let mut step = vec![command[0].clone()];
    step.extend(parsed.carried().cloned());
    if !parsed.has("mpi")
        && world.var("SLURM_MPI_TYPE").is_none()
        && world.mpi_default.and_then(|ask| ask()).is_some_and(|kind| kind == "none")
    {
        // The application may do without MPI, the step cannot.
        let mpich = install::broadcaster(Mpi::Mpich).is_ok();
        step.push(if mpich { "--mpi=pmi2" } else { "--mpi=pmix" }.into());
    }
    let cpus =
        world.var("SLURM_JOB_CPUS_PER_NODE").and_then(|c| hosts::repeated(&c)?.into_iter().min());
    step.extend(step_env::options(count, cpus, list.as_deref()));
    Ok(Parts { programs, nodes: Nodes::Allocated(Some(count)), ranks, step })
}

/// Where PROGRAM stands.
pub(super) fn programs(command: &[OsString]) -> Result<Vec<usize>, String> {
    Ok(parse(command, TABLE, Dashes::Getopt)?.program.into_iter().collect())
}

/// `MpiDefault` of `slurm.conf`; `None` where scontrol does not say it.
pub(super) fn mpi_default() -> Option<String> {
    let asked = Command::new("scontrol").args(["show", "config"]).stdin(Stdio::null()).output();
    let text = String::from_utf8(asked.ok()?.stdout).ok()?;
    let line = text.lines().find(|line| line.trim_start().starts_with("MpiDefault"))?;
    Some(line.split_once('=')?.1.trim().to_string())
}

/// The nodes, where they are not all of the allocation, and their number.
fn nodes(parsed: &Parsed, world: &World) -> Result<(Option<Vec<String>>, usize), String> {
    let expand =
        |list: &str| hosts::expand(list).ok_or(format!("node list {list} is not understood"));
    let all = world.var("SLURM_JOB_NODELIST").or_else(|| world.var("SLURM_NODELIST"));
    let all = all.map(|l| expand(&l)).transpose()?;
    let number = world.var("SLURM_JOB_NUM_NODES").or_else(|| world.var("SLURM_NNODES"));
    let number = number.and_then(|n| n.parse().ok()).or(all.as_ref().map(Vec::len));
    let number =
        number.ok_or("the number of the allocation's nodes is not known (SLURM_NNODES)")?;
    let text = |name| parsed.value(name).map(|v| v.to_string_lossy().into_owned());
    if let Some(list) = text("w") {
        if list.contains('/') {
            return Err("a --nodelist file is not understood".into());
        }
        let named = expand(&list)?;
        // With a larger -N Slurm adds nodes of its own choice.
        let wanted =
            text("N").map_or(Some(named.len()), |n| n.split('-').next_back()?.parse().ok());
        if wanted == Some(named.len()) {
            let count = named.len();
            return Ok((Some(named), count));
        }
    }
    if let Some(excluded) = text("x") {
        let excluded = expand(&excluded)?;
        let all = all.ok_or("the allocation's nodes are not known (SLURM_JOB_NODELIST)")?;
        let rest: Vec<String> = all.into_iter().filter(|n| !excluded.contains(n)).collect();
        let count = rest.len();
        return Ok((Some(rest), count));
    }
    Ok((None, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchers::tests::{check, refused, words, world};

    fn allocation() -> World {
        world(&[("SLURM_JOB_ID", "7"), ("SLURM_NNODES", "4"), ("SLURM_JOB_NODELIST", "n[1-4]")])
    }

    fn step(text: &str) -> String {
        check(&parts(&words(text), &allocation()).unwrap())
    }

    #[test]
    fn one_task_starts_on_every_node_of_the_allocation() {
        let tail = "--overlap --mem=0 -N 4 -n 4 --ntasks-per-node=1 --cpu-bind=none";
        assert_eq!(step("srun -n 8 python app.py"), format!("srun {tail}"));
        assert_eq!(step("srun -N2 -n8 --mpi=pmi2 -lu python"), format!("srun --mpi=pmi2 {tail}"));
    }

    #[test]
    fn named_nodes_are_the_only_ones() {
        let tail = "--overlap --mem=0 -N 2 -n 2 --ntasks-per-node=1 --cpu-bind=none";
        assert_eq!(step("srun -w n[2-3] -n 8 x"), format!("srun {tail} --nodelist=n2,n3"));
        assert_eq!(step("srun -x n1,n2 x"), format!("srun {tail} --nodelist=n3,n4"));
    }

    #[test]
    fn the_step_gets_the_cpus_of_the_smallest_node() {
        let w = world(&[
            ("SLURM_JOB_ID", "7"),
            ("SLURM_NNODES", "2"),
            ("SLURM_JOB_CPUS_PER_NODE", "64,32"),
        ]);
        assert!(check(&parts(&words("srun x"), &w).unwrap()).contains(" -c 32 "));
    }

    #[test]
    fn a_step_without_mpi_is_staged_for_with_one() {
        let w = |default: fn() -> Option<String>| World {
            mpi_default: Some(default),
            ..world(&[("SLURM_JOB_ID", "7"), ("SLURM_NNODES", "4")])
        };
        let step = |text: &str, w: &World| check(&parts(&words(text), w).unwrap());
        let none = w(|| Some("none".into()));
        assert!(step("srun x", &none).contains(" --mpi=pmi"));
        assert!(step("srun --mpi=none x", &none).contains(" --mpi=none "));
        assert!(!step("srun x", &w(|| Some("pmix".into()))).contains("--mpi"));
        assert!(!step("srun x", &w(|| None)).contains("--mpi"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        refused(parts(&words("srun -n 2 x"), &world(&[])), "allocation");
        refused(parts(&words("srun --multi-prog conf"), &allocation()), "--multi-prog");
        refused(parts(&words("srun -n 1 a : -n 1 b"), &allocation()), "':'");
        refused(parts(&words("srun --het-group=0,1 x"), &allocation()), "--het-group");
        refused(parts(&words("srun --nod=4 x"), &allocation()), "--nod=4");
        refused(parts(&words("srun -w /a/file x"), &allocation()), "file");
    }

    #[test]
    fn program_is_found_behind_short_options() {
        let program = |t: &str| parts(&words(t), &allocation()).unwrap().programs;
        assert_eq!(program("srun -K -n 4 python app.py -n 3"), [4]);
        assert_eq!(program("srun -lN2 --exclusive python"), [3]);
        assert!(program("srun --version").is_empty());
    }
}
