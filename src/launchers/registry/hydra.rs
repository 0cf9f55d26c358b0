//! Reads the command lines of Hydra, the `mpiexec` of MPICH, MVAPICH and Intel MPI.
//!
//! Hydra fills the hosts of `-hosts`, of `-f` or of the resource manager in their order, each up to its slots or
//! `-ppn`.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use Arity::{Flag, Words};
use Handling::{Carry, Omit, Placement, Refuse};

use crate::launchers::environment::Environment;
use crate::launchers::hosts::Host;
use crate::launchers::launch::{Launch, Nodes};
use crate::launchers::launcher::{Launcher, RankVariables};
use crate::launchers::mpi::Mpi;
use crate::launchers::not_understood::NotUnderstood;
use crate::launchers::options::{
    Arity, Dashes, Handling, Opt, Parsed, opt, os, parse_parts, programs,
};
use crate::launchers::{allocation, hosts};

/// `mpiexec` of MPICH, MVAPICH and Intel MPI.
#[derive(Debug)]
pub struct Hydra;

/// Source: Hydra, `src/pm/hydra/proxy/pmip_cb.c`.
const RANKS: RankVariables = RankVariables {
    rank: "PMI_RANK",
    local_size: Some("MPI_LOCALNRANKS"),
    launch: &["PMI_JOBID", "PMI_PORT"],
};

/// The options, from `mpiexec -help` of MPICH 5 and Intel MPI's manual.
const TABLE: &[Opt] = &[
    opt(&["n", "np"], Words(1), Placement),
    opt(&["ppn", "perhost", "grr"], Words(1), Placement),
    opt(&["hosts", "host"], Words(1), Placement),
    opt(&["f", "hostfile", "machinefile", "machine"], Words(1), Placement),
    opt(&["rankmap"], Words(1), Placement),
    opt(&["order-nodes"], Words(1), Placement),
    opt(&["rr"], Flag, Placement),
    opt(&["launcher", "bootstrap"], Words(1), Carry),
    opt(&["launcher-exec", "bootstrap-exec"], Words(1), Carry),
    opt(&["rmk"], Words(1), Carry),
    opt(&["iface"], Words(1), Carry),
    opt(&["localhost"], Words(1), Carry),
    opt(&["nameserver"], Words(1), Carry),
    opt(&["demux"], Words(1), Carry),
    opt(&["pmi-port"], Flag, Carry),
    opt(&["hybrid-hosts"], Flag, Carry),
    opt(&["disable-hostname-propagation"], Flag, Carry),
    opt(&["enable-x"], Flag, Omit),
    opt(&["disable-x"], Flag, Omit),
    opt(&["genv", "env"], Words(2), Omit),
    opt(&["genvlist", "envlist"], Words(1), Omit),
    opt(&["genvnone", "envnone"], Flag, Omit),
    opt(&["genvall", "envall"], Flag, Omit),
    opt(&["wdir", "wd", "gwdir"], Words(1), Omit),
    opt(&["bind-to", "binding"], Words(1), Omit),
    opt(&["map-by"], Words(1), Omit),
    opt(&["membind"], Words(1), Omit),
    opt(&["topolib"], Words(1), Omit),
    opt(&["memory-alloc-kinds"], Words(1), Omit),
    opt(&["gpus-per-proc"], Words(1), Omit),
    opt(&["usize"], Words(1), Omit),
    opt(&["outfile-pattern", "outfile"], Words(1), Omit),
    opt(&["errfile-pattern", "errfile"], Words(1), Omit),
    opt(&["prepend-pattern"], Words(1), Omit),
    opt(&["prepend-rank", "l"], Flag, Omit),
    opt(&["print-all-exitcodes"], Flag, Omit),
    opt(&["profile"], Flag, Omit),
    opt(&["disable-auto-cleanup"], Flag, Omit),
    opt(&["verbose", "v"], Flag, Omit),
    opt(&["info", "version", "V", "help", "h"], Flag, Omit),
    opt(&["s", "stdin"], Words(1), Omit),
    opt(&["configfile"], Words(1), Refuse("names a file of programs, which is not understood")),
    opt(&["skip-launch-node"], Flag, Refuse("moves ranks in a way that is not understood")),
];

impl Launcher for Hydra {
    fn name(&self) -> &'static str {
        "Hydra"
    }

    fn ranks(&self) -> &'static RankVariables {
        &RANKS
    }

    fn file_names(&self) -> &'static [&'static str] {
        &["mpiexec", "mpirun", "mpiexec.hydra", "mpiexec.mpich", "mpirun.mpich"]
    }

    fn settings_key(&self) -> Option<&'static str> {
        Some("hydra")
    }

    fn is_told_by_version(&self, text: &str) -> bool {
        text.contains("HYDRA") || text.contains("Intel(R) MPI")
    }

    fn read(
        &self,
        command: &[OsString],
        environment: &Environment,
    ) -> Result<Launch, NotUnderstood> {
        let parts = parse_parts(command, TABLE, Dashes::Any)?;
        let ranks = parts.iter().map(|part| part.number("n")).sum();
        let nodes = nodes(&parts[0], ranks, environment)?;
        let mut step = vec![command[0].clone()];
        step.extend(parts.iter().flat_map(Parsed::carried).cloned());
        let one_each = |count: usize| os(["-ppn", "1", "-n", &count.to_string()]);
        match &nodes {
            Nodes::Here => {}
            Nodes::Named(names) => {
                step.extend(os(["-hosts", &names.join(",")]));
                step.extend(one_each(names.len()));
            }
            Nodes::Allocated(count) => {
                let unknown = "the number of the allocation's nodes is not known";
                step.extend(one_each(count.ok_or(NotUnderstood::Form(unknown))?));
            }
        }
        Ok(Launch { programs: programs(&parts), nodes, ranks, step })
    }

    fn programs(&self, command: &[OsString]) -> Result<Vec<usize>, NotUnderstood> {
        parse_parts(command, TABLE, Dashes::Any).map(|parts| programs(&parts))
    }

    fn mpis(&self) -> &'static [Mpi] {
        &[Mpi::Mpich]
    }

    /// With MPICH 5.0, Hydra hangs in about one of seven jobs that SIGTERM ends, and in about one of a hundred jobs in
    /// which a process is killed. Without pyshm, Hydra hangs as often.
    fn may_hang(&self) -> bool {
        true
    }
}

fn nodes(
    first: &Parsed,
    ranks: Option<usize>,
    environment: &Environment,
) -> Result<Nodes, NotUnderstood> {
    // Both options change which of the hosts get ranks, so all hosts are staged then.
    let ranks = if first.has("rankmap") || first.has("order-nodes") { None } else { ranks };
    let per_node = if first.has("rr") {
        Some(1)
    } else {
        first.number("ppn").or_else(|| environment.number("HYDRA_PPN"))
    };
    let file = || {
        let option = first.value("f").map(OsString::from);
        option.or_else(|| environment.var_os("HYDRA_HOST_FILE"))
    };
    let hosts = if let Some(list) = first.value("hosts") {
        hosts::comma_list(&list.to_string_lossy(), Some(1))
    } else if let Some(file) = file() {
        let text = environment.read_host_file(&file)?;
        // "binding=…", "user=…" or "ifname=…" may follow the host.
        hosts::lines(&text)
            .filter_map(|line| line.split_whitespace().next())
            .map(|host| hosts::with_slots(host, Some(1)))
            .collect()
    } else {
        return allocation::nodes(environment, ranks, per_node);
    };
    if hosts.is_empty() {
        return Err(NotUnderstood::Form("the list of hosts is empty"));
    }
    Ok(Nodes::named(hosts::filled(&merge_neighbours(hosts), ranks, per_node), environment))
}

/// Merges neighbours with the same name and adds up their slots: "a,a,b" is "a:2,b".
fn merge_neighbours(hosts: Vec<Host>) -> Vec<Host> {
    let mut merged: Vec<Host> = Vec::new();
    for host in hosts {
        match merged.last_mut().filter(|last| last.name == host.name) {
            Some(last) => last.add_slots(host.slots),
            None => merged.push(host),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchers::testing;
    use crate::launchers::testing::{environment, refused, words};

    fn read(text: &str, environment: &Environment) -> Result<Launch, NotUnderstood> {
        Hydra.read(&words(text), environment)
    }

    fn step(text: &str, environment: &Environment) -> String {
        testing::step(&read(text, environment).unwrap())
    }

    #[test]
    fn no_hosts_means_this_node() {
        let launch = read("mpiexec -n 8 python app.py", &environment(&[])).unwrap();
        assert_eq!((launch.nodes, launch.programs, launch.ranks), (Nodes::Here, vec![3], Some(8)));
        let launch = read("mpiexec -hosts localhost -n 2 python", &environment(&[])).unwrap();
        assert_eq!(launch.nodes, Nodes::Here);
    }

    #[test]
    fn only_nodes_that_get_ranks_are_staged() {
        let w = environment(&[]);
        assert_eq!(step("mpiexec -hosts a,b,c -n 2 x", &w), "mpiexec -hosts a,b -ppn 1 -n 2");
        assert_eq!(
            step("mpiexec -hosts a,b,c -ppn 2 -n 8 x", &w),
            "mpiexec -hosts a,b,c -ppn 1 -n 3"
        );
        assert_eq!(step("mpiexec -hosts a:4,b:4 -n 3 x", &w), "mpiexec -hosts a -ppn 1 -n 1");
        assert_eq!(step("mpiexec -hosts a,a,b -n 3 x", &w), "mpiexec -hosts a,b -ppn 1 -n 2");
        assert_eq!(step("mpiexec --hosts=a,b x", &w), "mpiexec -hosts a,b -ppn 1 -n 2");
        assert_eq!(step("mpiexec -hosts a,b -rr -n 2 x", &w), "mpiexec -hosts a,b -ppn 1 -n 2");
    }

    #[test]
    fn options_that_reach_the_nodes_are_carried_and_the_rest_is_not() {
        let got = step(
            "mpiexec -launcher ssh -launcher-exec /x/fake-ssh -iface eth0 -genv A B -l -hosts a,b -n 2 python a.py",
            &environment(&[]),
        );
        let want =
            "mpiexec -launcher ssh -launcher-exec /x/fake-ssh -iface eth0 -hosts a,b -ppn 1 -n 2";
        assert_eq!(got, want);
    }

    #[test]
    fn host_files_come_from_the_option_or_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hosts");
        std::fs::write(&file, "# nodes\nn1:2 binding=x\nn2:2\n\nn3:2\n").unwrap();
        let text = format!("mpiexec -f {} -n 4 x", file.display());
        assert_eq!(step(&text, &environment(&[])), "mpiexec -hosts n1,n2 -ppn 1 -n 2");
        let w = environment(&[("HYDRA_HOST_FILE", file.to_str().unwrap())]);
        assert_eq!(step("mpiexec -n 5 x", &w), "mpiexec -hosts n1,n2,n3 -ppn 1 -n 3");
    }

    #[test]
    fn in_an_allocation_of_slurm_its_nodes_are_used() {
        let w = environment(&[
            ("SLURM_JOB_ID", "7"),
            ("SLURM_NNODES", "4"),
            ("SLURM_JOB_NODELIST", "n[1-4]"),
            ("SLURM_TASKS_PER_NODE", "2(x4)"),
        ]);
        assert_eq!(step("mpiexec -n 4 x", &w), "mpiexec -ppn 1 -n 2");
        assert_eq!(step("mpiexec x", &w), "mpiexec -ppn 1 -n 4");
    }

    #[test]
    fn the_ranks_of_all_parts_fill_the_hosts() {
        let text = "mpiexec -hosts a:2,b:2,c:2 -n 1 server : -n 2 python x.py";
        let launch = read(text, &environment(&[])).unwrap();
        assert_eq!((&launch.programs[..], launch.ranks), (&[5, 9][..], Some(3)));
        assert_eq!(testing::step(&launch), "mpiexec -hosts a,b -ppn 1 -n 2");
    }

    #[test]
    fn a_command_that_is_not_understood_is_refused() {
        refused(read("mpiexec -weird 3 x", &environment(&[])), "-weird");
        refused(read("mpiexec -n 1 a : -ppn 1 -n 1 b", &environment(&[])), "-ppn");
        refused(read("mpiexec -configfile f", &environment(&[])), "-configfile");
        refused(read("mpiexec -f /no/such/file x", &environment(&[])), "/no/such/file");
    }
}
