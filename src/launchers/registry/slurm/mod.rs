//! Reads the command lines of Slurm's `srun` within an allocation.
//!
//! If a step has fewer nodes than the allocation, Slurm chooses the step's nodes only when the step starts. So pyshm
//! stages on all nodes of the allocation, unless the command names the step's nodes.
#![forbid(unsafe_code)]

mod step_env;

use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};

use Arity::{Attached, Flag, Words};
use Handling::{Carry, Omit, Placement, Refuse};

use crate::launchers::environment::Environment;
use crate::launchers::hosts;
use crate::launchers::launch::{Launch, Nodes};
use crate::launchers::launcher::{Launcher, Look, RankVariables};
use crate::launchers::mpi::Mpi;
use crate::launchers::not_understood::NotUnderstood;
use crate::launchers::options::{Arity, Dashes, Handling, Opt, Parsed, opt, parse};

/// `srun`.
#[derive(Debug)]
pub struct Slurm {
    /// Asks for `MpiDefault` of `slurm.conf`; used only if nothing else tells which kind of MPI a step has.
    mpi_default: fn() -> Option<String>,
}

/// The `srun` of this machine.
pub static SLURM: Slurm = Slurm { mpi_default };

/// Source: srun(1), "OUTPUT ENVIRONMENT VARIABLES". A batch script has no SLURM_STEP_ID.
const RANKS: RankVariables = RankVariables { rank: "SLURM_STEP_ID", local_size: None, launch: &[] };

const PER_RANK: &str = "gives each group of ranks another program, which is not understood";

/// The options, from the manual of 22.05 to 24.05.
const TABLE: &[Opt] = &[
    opt(&["n", "ntasks"], Words(1), Placement),
    opt(&["N", "nodes"], Words(1), Placement),
    opt(&["ntasks-per-node"], Words(1), Placement),
    opt(&["w", "nodelist"], Words(1), Placement),
    opt(&["x", "exclude"], Words(1), Placement),
    opt(&["F", "nodefile"], Words(1), Refuse("names nodes by a file, which is not understood")),
    opt(&["r", "relative"], Words(1), Placement),
    opt(&["mpi"], Words(1), Carry),
    opt(&["jobid"], Words(1), Carry),
    opt(&["A", "account"], Words(1), Omit),
    opt(&["p", "partition"], Words(1), Omit),
    opt(&["q", "qos"], Words(1), Omit),
    opt(&["t", "time"], Words(1), Omit),
    opt(&["J", "job-name"], Words(1), Omit),
    opt(&["c", "cpus-per-task"], Words(1), Omit),
    opt(&["ntasks-per-core"], Words(1), Omit),
    opt(&["ntasks-per-socket"], Words(1), Omit),
    opt(&["cores-per-socket"], Words(1), Omit),
    opt(&["sockets-per-node"], Words(1), Omit),
    opt(&["threads-per-core"], Words(1), Omit),
    opt(&["hint"], Words(1), Omit),
    opt(&["m", "distribution"], Words(1), Omit),
    opt(&["cpu-bind"], Words(1), Omit),
    opt(&["mem-bind"], Words(1), Omit),
    opt(&["mem"], Words(1), Omit),
    opt(&["mem-per-cpu"], Words(1), Omit),
    opt(&["mem-per-gpu"], Words(1), Omit),
    opt(&["G", "gpus"], Words(1), Omit),
    opt(&["gpus-per-node"], Words(1), Omit),
    opt(&["gpus-per-task"], Words(1), Omit),
    opt(&["gpus-per-socket"], Words(1), Omit),
    opt(&["gpu-bind"], Words(1), Omit),
    opt(&["gpu-freq"], Words(1), Omit),
    opt(&["gres"], Words(1), Omit),
    opt(&["gres-flags"], Words(1), Omit),
    opt(&["tres-per-task"], Words(1), Omit),
    opt(&["tres-bind"], Words(1), Omit),
    opt(&["cpus-per-gpu"], Words(1), Omit),
    opt(&["cpu-freq"], Words(1), Omit),
    opt(&["C", "constraint"], Words(1), Omit),
    opt(&["L", "licenses"], Words(1), Omit),
    opt(&["O", "overcommit"], Flag, Omit),
    opt(&["s", "oversubscribe"], Flag, Omit),
    opt(&["overlap"], Flag, Omit),
    opt(&["exact"], Flag, Omit),
    opt(&["whole"], Flag, Omit),
    opt(&["exclusive"], Attached, Omit),
    opt(&["E", "preserve-env"], Flag, Omit),
    opt(&["export"], Words(1), Omit),
    opt(&["export-file"], Words(1), Omit),
    opt(&["propagate"], Attached, Omit),
    opt(&["prolog"], Words(1), Omit),
    opt(&["epilog"], Words(1), Omit),
    opt(&["task-prolog"], Words(1), Omit),
    opt(&["task-epilog"], Words(1), Omit),
    opt(&["i", "input"], Words(1), Omit),
    opt(&["o", "output"], Words(1), Omit),
    opt(&["e", "error"], Words(1), Omit),
    opt(&["open-mode"], Words(1), Omit),
    opt(&["l", "label"], Flag, Omit),
    opt(&["u", "unbuffered"], Flag, Omit),
    opt(&["pty"], Attached, Omit),
    opt(&["Q", "quiet"], Flag, Omit),
    opt(&["v", "verbose"], Flag, Omit),
    opt(&["K", "kill-on-bad-exit"], Attached, Omit),
    opt(&["k", "no-kill"], Attached, Omit),
    opt(&["W", "wait"], Words(1), Omit),
    opt(&["X", "disable-status"], Flag, Omit),
    opt(&["D", "chdir"], Words(1), Omit),
    opt(&["I", "immediate"], Attached, Omit),
    opt(&["T", "threads"], Words(1), Omit),
    opt(&["Z", "no-allocate"], Flag, Refuse("runs without an allocation")),
    opt(&["profile"], Words(1), Omit),
    opt(&["acctg-freq"], Words(1), Omit),
    opt(&["comment"], Words(1), Omit),
    opt(&["container"], Words(1), Refuse("runs PROGRAM in a container that may not see the stage")),
    opt(&["nice"], Attached, Omit),
    opt(&["signal"], Words(1), Omit),
    opt(&["slurmd-debug"], Words(1), Omit),
    opt(&["V", "version", "h", "help", "usage"], Flag, Omit),
    opt(&["multi-prog"], Flag, Refuse(PER_RANK)),
    opt(&["het-group"], Words(1), Refuse(PER_RANK)),
    opt(&["bcast"], Attached, Refuse("copies PROGRAM to the nodes, which pyshm does as well")),
];

impl Launcher for Slurm {
    fn name(&self) -> &'static str {
        "Slurm"
    }

    fn ranks(&self) -> &'static RankVariables {
        &RANKS
    }

    /// A step of one task counts as not shared, since it has no other ranks. A shell in it may start one command after
    /// the other.
    fn is_shared(&self, look: Look<'_>) -> bool {
        let is_alone = look("SLURM_STEP_NUM_TASKS").is_none_or(|number| number == "1");
        look(RANKS.rank).is_some() && !is_alone
    }

    /// All ranks of a step have the same `SLURM_STEP_ID`.
    fn own_rank(&self, _look: Look<'_>) -> Option<String> {
        None
    }

    fn launch(&self, look: Look<'_>) -> Option<String> {
        look("SLURM_LOCALID")?;
        Some(format!("slurm {}.{}", look("SLURM_JOB_ID")?, look("SLURM_STEP_ID")?))
    }

    fn derived_local_size(&self, look: Look<'_>) -> Option<usize> {
        // A batch script has no SLURM_LOCALID. Its numbers are those of the whole job.
        look("SLURM_LOCALID")?;
        let node = look("SLURM_NODEID").and_then(|node| node.parse().ok()).unwrap_or(0_usize);
        let sizes = hosts::expand_slurm_counts(&look("SLURM_STEP_TASKS_PER_NODE")?)?;
        sizes.get(node).copied()
    }

    fn file_names(&self) -> &'static [&'static str] {
        &["srun"]
    }

    fn settings_key(&self) -> Option<&'static str> {
        Some("srun")
    }

    /// Without a reachable controller, `srun` cannot even print its version.
    fn is_told_by_name(&self, file_name: &OsStr) -> bool {
        file_name == "srun"
    }

    fn is_told_by_version(&self, text: &str) -> bool {
        text.starts_with("slurm")
    }

    fn read(
        &self,
        command: &[OsString],
        environment: &Environment,
    ) -> Result<Launch, NotUnderstood> {
        let parsed = parse(command, TABLE, Dashes::Getopt)?;
        let ranks = parsed.number("n").or_else(|| environment.number("SLURM_NTASKS"));
        let Some(program) = parsed.program else {
            return Ok(Launch {
                programs: Vec::new(),
                nodes: Nodes::Here,
                ranks,
                step: Vec::new(),
            });
        };
        if environment.var("SLURM_JOB_ID").is_none() {
            // A staging step would get an allocation of its own, perhaps on other nodes.
            return Err(NotUnderstood::Form(
                "srun outside an allocation is not understood: use it within salloc or sbatch, or as \
                 'srun ... pyshm-run PROGRAM'",
            ));
        }
        let (names, count) = nodes(&parsed, environment)?;
        let mut step = vec![command[0].clone()];
        step.extend(parsed.carried().cloned());
        if !parsed.has("mpi")
            && environment.var("SLURM_MPI_TYPE").is_none()
            && (self.mpi_default)().is_some_and(|kind| kind == "none")
        {
            // The application may work without MPI, but the staging step cannot.
            step.push(match environment.first_with_helper(self.mpis()) {
                Mpi::Mpich => "--mpi=pmi2".into(),
                Mpi::OpenMpi => "--mpi=pmix".into(),
            });
        }
        let cpus = environment
            .var("SLURM_JOB_CPUS_PER_NODE")
            .and_then(|counts| hosts::expand_slurm_counts(&counts)?.into_iter().min());
        step.extend(step_env::options(count, cpus, names.as_deref()));
        Ok(Launch { programs: vec![program], nodes: Nodes::Allocated(Some(count)), ranks, step })
    }

    fn programs(&self, command: &[OsString]) -> Result<Vec<usize>, NotUnderstood> {
        Ok(parse(command, TABLE, Dashes::Getopt)?.program.into_iter().collect())
    }

    fn mpis_for(&self, step: &[OsString], environment: &Environment) -> &'static [Mpi] {
        let attached =
            || step.iter().find_map(|word| word.to_str()?.strip_prefix("--mpi=").map(String::from));
        let separate = || {
            let at = step.iter().position(|word| word == "--mpi")?;
            Some(step.get(at + 1)?.to_str()?.to_string())
        };
        let kind = attached().or_else(separate).or_else(|| environment.var("SLURM_MPI_TYPE"));
        // PMIx serves both MPI libraries, and Open MPI needs it.
        if kind.is_some_and(|kind| kind.starts_with("pmix")) {
            &[Mpi::OpenMpi, Mpi::Mpich]
        } else {
            self.mpis()
        }
    }

    fn allocation_variable(&self) -> Option<&'static str> {
        Some("SLURM_JOB_ID")
    }

    fn shapes_step(&self, variable: &OsStr) -> bool {
        step_env::shapes_step(variable)
    }

    fn prepare_step(&self, command: &mut Command) {
        if std::env::var_os("SLURM_JOB_ID").is_some() {
            // For launchers that start their daemons by srun: the application's step must not wait for the end of the
            // staging step.
            command.env("SLURM_OVERLAP", "1");
        }
    }
}

/// Asks scontrol for `MpiDefault` of `slurm.conf`; `None` if it does not tell.
fn mpi_default() -> Option<String> {
    let asked = Command::new("scontrol").args(["show", "config"]).stdin(Stdio::null()).output();
    let text = String::from_utf8(asked.ok()?.stdout).ok()?;
    let line = text.lines().find(|line| line.trim_start().starts_with("MpiDefault"))?;
    Some(line.split_once('=')?.1.trim().to_string())
}

/// Finds the names of the step's nodes, if these are not all nodes of the allocation, and their number.
fn nodes(
    parsed: &Parsed,
    environment: &Environment,
) -> Result<(Option<Vec<String>>, usize), NotUnderstood> {
    let expand = |list: &str| {
        hosts::expand_slurm_list(list).ok_or_else(|| NotUnderstood::NodeList(list.into()))
    };
    let text = |name| parsed.value(name).map(|value| value.to_string_lossy().into_owned());
    let all = environment.var("SLURM_JOB_NODELIST").or_else(|| environment.var("SLURM_NODELIST"));
    let all = all.map(|list| expand(&list)).transpose()?;
    let number = environment.var("SLURM_JOB_NUM_NODES").or_else(|| environment.var("SLURM_NNODES"));
    let number =
        number.and_then(|number| number.parse().ok()).or(all.as_ref().map(Vec::len)).ok_or(
            NotUnderstood::Form("the number of the allocation's nodes is not known (SLURM_NNODES)"),
        )?;
    if let Some(list) = text("w") {
        if list.contains('/') {
            return Err(NotUnderstood::Form("a --nodelist file is not understood"));
        }
        let named = expand(&list)?;
        // If -N is larger, Slurm adds nodes of its own choice.
        let wanted =
            text("N").map_or(Some(named.len()), |n| n.split('-').next_back()?.parse().ok());
        if wanted == Some(named.len()) {
            let count = named.len();
            return Ok((Some(named), count));
        }
    }
    if let Some(excluded) = text("x") {
        let excluded = expand(&excluded)?;
        let unknown = "the allocation's nodes are not known (SLURM_JOB_NODELIST)";
        let all = all.ok_or(NotUnderstood::Form(unknown))?;
        let rest: Vec<String> = all.into_iter().filter(|n| !excluded.contains(n)).collect();
        let count = rest.len();
        return Ok((Some(rest), count));
    }
    Ok((None, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchers::testing;
    use crate::launchers::testing::{environment, refused, words};

    /// A Slurm that does not tell which MPI its steps have.
    const SILENT: Slurm = Slurm { mpi_default: || None };

    fn read(text: &str, environment: &Environment) -> Result<Launch, NotUnderstood> {
        SILENT.read(&words(text), environment)
    }

    fn allocation() -> Environment {
        environment(&[
            ("SLURM_JOB_ID", "7"),
            ("SLURM_NNODES", "4"),
            ("SLURM_JOB_NODELIST", "n[1-4]"),
        ])
    }

    fn step(text: &str) -> String {
        testing::step(&read(text, &allocation()).unwrap())
    }

    #[test]
    fn one_task_starts_on_every_node_of_the_allocation() {
        let tail = "--overlap --mem=0 -N 4 -n 4 --ntasks-per-node=1 --cpu-bind=none";
        assert_eq!(step("srun -n 8 python app.py"), format!("srun {tail}"));
        assert_eq!(step("srun -N2 -n8 --mpi=pmi2 -lu python"), format!("srun --mpi=pmi2 {tail}"));
    }

    #[test]
    fn only_the_nodes_that_the_command_names_are_staged() {
        let tail = "--overlap --mem=0 -N 2 -n 2 --ntasks-per-node=1 --cpu-bind=none";
        assert_eq!(step("srun -w n[2-3] -n 8 x"), format!("srun {tail} --nodelist=n2,n3"));
        assert_eq!(step("srun -x n1,n2 x"), format!("srun {tail} --nodelist=n3,n4"));
    }

    #[test]
    fn the_step_gets_the_cpus_of_the_smallest_node() {
        let w = environment(&[
            ("SLURM_JOB_ID", "7"),
            ("SLURM_NNODES", "2"),
            ("SLURM_JOB_CPUS_PER_NODE", "64,32"),
        ]);
        assert!(testing::step(&read("srun x", &w).unwrap()).contains(" -c 32 "));
    }

    #[test]
    fn the_step_gets_an_mpi_if_the_default_is_none() {
        let w = environment(&[("SLURM_JOB_ID", "7"), ("SLURM_NNODES", "4")]);
        let step = |text: &str, mpi_default: fn() -> Option<String>| {
            testing::step(&Slurm { mpi_default }.read(&words(text), &w).unwrap())
        };
        let none = || Some("none".into());
        assert!(step("srun x", none).contains(" --mpi=pmi2"));
        assert!(step("srun --mpi=none x", none).contains(" --mpi=none "));
        assert!(!step("srun x", || Some("pmix".into())).contains("--mpi"));
        assert!(!step("srun x", || None).contains("--mpi"));
    }

    #[test]
    fn a_command_that_is_not_understood_is_refused() {
        refused(read("srun -n 2 x", &environment(&[])), "allocation");
        refused(read("srun --multi-prog conf", &allocation()), "--multi-prog");
        refused(read("srun -n 1 a : -n 1 b", &allocation()), "':'");
        refused(read("srun --het-group=0,1 x", &allocation()), "--het-group");
        refused(read("srun --nod=4 x", &allocation()), "--nod=4");
        refused(read("srun -w /a/file x", &allocation()), "file");
    }

    #[test]
    fn program_is_found_after_short_options() {
        let program = |t: &str| read(t, &allocation()).unwrap().programs;
        assert_eq!(program("srun -K -n 4 python app.py -n 3"), [4]);
        assert_eq!(program("srun -lN2 --exclusive python"), [3]);
        assert!(program("srun --version").is_empty());
    }

    #[test]
    fn open_mpi_is_preferred_where_pmix_serves_both() {
        let best = |text: &str, variables: &[(&str, &str)]| {
            SILENT.mpis_for(&words(text), &environment(variables))[0]
        };
        assert_eq!(best("srun", &[]), Mpi::Mpich);
        assert_eq!(best("srun --mpi=pmix_v3", &[]), Mpi::OpenMpi);
        assert_eq!(best("srun --mpi pmix", &[]), Mpi::OpenMpi);
        assert_eq!(best("srun", &[("SLURM_MPI_TYPE", "pmix")]), Mpi::OpenMpi);
        assert_eq!(best("srun --mpi=pmi2", &[("SLURM_MPI_TYPE", "pmix")]), Mpi::Mpich);
    }
}
