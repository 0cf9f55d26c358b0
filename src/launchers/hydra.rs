//! `mpiexec` of Hydra: MPICH, MVAPICH, Intel MPI.
//!
//! Hydra fills the hosts of `-hosts`, `-f` or the resource manager in their order, each up to its slots or `-ppn`.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use Arity::{Flag, Words};
use Class::{Carry, Drop, Place, Refuse};

use crate::launchers::hosts::Host;
use crate::launchers::options::{Arity, Class, Dashes, Opt, Parsed, opt, parse_contexts};
use crate::launchers::{Nodes, Parts, World, hosts, os};

/// The options, from `mpiexec -help` of MPICH 5 and Intel MPI's manual.
const TABLE: &[Opt] = &[
    opt(&["n", "np"], Words(1), Place),
    opt(&["ppn", "perhost", "grr"], Words(1), Place),
    opt(&["hosts", "host"], Words(1), Place),
    opt(&["f", "hostfile", "machinefile", "machine"], Words(1), Place),
    opt(&["rankmap"], Words(1), Place),
    opt(&["order-nodes"], Words(1), Place),
    opt(&["rr"], Flag, Place),
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
    opt(&["enable-x"], Flag, Drop),
    opt(&["disable-x"], Flag, Drop),
    opt(&["genv", "env"], Words(2), Drop),
    opt(&["genvlist", "envlist"], Words(1), Drop),
    opt(&["genvnone", "envnone"], Flag, Drop),
    opt(&["genvall", "envall"], Flag, Drop),
    opt(&["wdir", "wd", "gwdir"], Words(1), Drop),
    opt(&["bind-to", "binding"], Words(1), Drop),
    opt(&["map-by"], Words(1), Drop),
    opt(&["membind"], Words(1), Drop),
    opt(&["topolib"], Words(1), Drop),
    opt(&["memory-alloc-kinds"], Words(1), Drop),
    opt(&["gpus-per-proc"], Words(1), Drop),
    opt(&["usize"], Words(1), Drop),
    opt(&["outfile-pattern", "outfile"], Words(1), Drop),
    opt(&["errfile-pattern", "errfile"], Words(1), Drop),
    opt(&["prepend-pattern"], Words(1), Drop),
    opt(&["prepend-rank", "l"], Flag, Drop),
    opt(&["print-all-exitcodes"], Flag, Drop),
    opt(&["profile"], Flag, Drop),
    opt(&["disable-auto-cleanup"], Flag, Drop),
    opt(&["verbose", "v"], Flag, Drop),
    opt(&["info", "version", "V", "help", "h"], Flag, Drop),
    opt(&["s", "stdin"], Words(1), Drop),
    opt(&["configfile"], Words(1), Refuse("names a file of programs, which is not understood")),
    opt(&["skip-launch-node"], Flag, Refuse("moves ranks in a way that is not understood")),
];

/// What the staging step looks like for this command.
pub(super) fn parts(command: &[OsString], world: &World) -> Result<Parts, String> {
    let contexts = parse_contexts(command, TABLE, Dashes::Any)?;
    let ranks = contexts.iter().map(|c| c.number("n")).sum();
    let nodes = nodes(&contexts[0], ranks, world)?;
    let mut step = vec![command[0].clone()];
    step.extend(contexts.iter().flat_map(Parsed::carried).cloned());
    match &nodes {
        Nodes::Here => {}
        Nodes::Named(names) => {
            step.extend(os([
                "-hosts",
                &names.join(","),
                "-ppn",
                "1",
                "-n",
                &names.len().to_string(),
            ]));
        }
        Nodes::Allocated(count) => {
            let count = count.ok_or("the number of the allocation's nodes is not known")?;
            step.extend(os(["-ppn", "1", "-n", &count.to_string()]));
        }
    }
    let programs = contexts.iter().filter_map(|c| c.program).collect();
    Ok(Parts { programs, nodes, ranks, step })
}

/// Where PROGRAM stands in each context.
pub(super) fn programs(command: &[OsString]) -> Result<Vec<usize>, String> {
    let contexts = parse_contexts(command, TABLE, Dashes::Any)?;
    Ok(contexts.iter().filter_map(|c| c.program).collect())
}

fn nodes(parsed: &Parsed, ranks: Option<usize>, world: &World) -> Result<Nodes, String> {
    // Both change which of the hosts get ranks: all of them are staged then.
    let ranks = if parsed.has("rankmap") || parsed.has("order-nodes") { None } else { ranks };
    let file = parsed.value("f").map(OsString::from).or_else(|| world.var_os("HYDRA_HOST_FILE"));
    let mut per_node = parsed.number("ppn").or_else(|| world.var("HYDRA_PPN")?.parse().ok());
    if parsed.has("rr") {
        per_node = Some(1);
    }
    let hosts = if let Some(list) = parsed.value("hosts") {
        hosts::comma_list(&list.to_string_lossy(), Some(1))
    } else if let Some(file) = file {
        let text = world.read(&file)?;
        // Behind the host may stand "binding=…", "user=…", "ifname=…".
        hosts::lines(&text)
            .filter_map(|l| l.split_whitespace().next())
            .map(|h| hosts::with_slots(h, Some(1)))
            .collect()
    } else {
        return crate::launchers::allocation(world, ranks, per_node);
    };
    if hosts.is_empty() {
        return Err("the list of hosts is empty".into());
    }
    Ok(world.named(hosts::filled(&merged(hosts), ranks, per_node)))
}

/// A host that is named again right behind itself gets more slots: "a,a,b" is "a:2,b".
fn merged(hosts: Vec<Host>) -> Vec<Host> {
    let mut merged: Vec<Host> = Vec::new();
    for host in hosts {
        match merged.last_mut().filter(|last| last.name == host.name) {
            Some(last) => last.slots = last.slots.zip(host.slots).map(|(a, b)| a + b),
            None => merged.push(host),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchers::tests::{check, refused, words, world};

    fn step(text: &str, world: &World) -> String {
        check(&parts(&words(text), world).unwrap())
    }

    #[test]
    fn no_hosts_means_this_node() {
        let p = parts(&words("mpiexec -n 8 python app.py"), &world(&[])).unwrap();
        assert_eq!((p.nodes, p.programs, p.ranks), (Nodes::Here, vec![3], Some(8)));
        let p = parts(&words("mpiexec -hosts localhost -n 2 python"), &world(&[])).unwrap();
        assert_eq!(p.nodes, Nodes::Here);
    }

    #[test]
    fn only_nodes_that_get_ranks_are_staged() {
        let w = world(&[]);
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
            &world(&[]),
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
        assert_eq!(step(&text, &world(&[])), "mpiexec -hosts n1,n2 -ppn 1 -n 2");
        let w = world(&[("HYDRA_HOST_FILE", file.to_str().unwrap())]);
        assert_eq!(step("mpiexec -n 5 x", &w), "mpiexec -hosts n1,n2,n3 -ppn 1 -n 3");
    }

    #[test]
    fn in_an_allocation_of_slurm_its_nodes_are_used() {
        let w = world(&[
            ("SLURM_JOB_ID", "7"),
            ("SLURM_NNODES", "4"),
            ("SLURM_JOB_NODELIST", "n[1-4]"),
            ("SLURM_TASKS_PER_NODE", "2(x4)"),
        ]);
        assert_eq!(step("mpiexec -n 4 x", &w), "mpiexec -ppn 1 -n 2");
        assert_eq!(step("mpiexec x", &w), "mpiexec -ppn 1 -n 4");
    }

    #[test]
    fn the_ranks_of_all_contexts_fill_the_hosts() {
        let text = "mpiexec -hosts a:2,b:2,c:2 -n 1 server : -n 2 python x.py";
        let p = parts(&words(text), &world(&[])).unwrap();
        assert_eq!((&p.programs[..], p.ranks), (&[5, 9][..], Some(3)));
        assert_eq!(check(&p), "mpiexec -hosts a,b -ppn 1 -n 2");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        refused(parts(&words("mpiexec -weird 3 x"), &world(&[])), "-weird");
        refused(parts(&words("mpiexec -n 1 a : -ppn 1 -n 1 b"), &world(&[])), "-ppn");
        refused(parts(&words("mpiexec -configfile f"), &world(&[])), "-configfile");
        refused(parts(&words("mpiexec -f /no/such/file x"), &world(&[])), "/no/such/file");
    }
}
