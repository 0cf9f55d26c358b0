//! `mpirun` and `mpiexec` of Open MPI 4 and 5, `prterun`.
//!
//! Open MPI fills the slots of `--host`, `--hostfile` or the resource manager's nodes, or deals ranks out by node. Where
//! a host file says no slots it counts cores on each node, which is not known here: all its nodes are staged then.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use Arity::{Flag, Words};
use Class::{Carry, Drop, Place, Refuse};

use crate::launchers::hosts::Host;
use crate::launchers::options::{Arity, Class, Dashes, Given, Opt, Parsed, opt, parse_contexts};
use crate::launchers::{Nodes, Parts, World, hosts, os};

/// The options, from the manual of 4.1 and `mpirun --help` of 5.0.
const TABLE: &[Opt] = &[
    opt(&["n", "np", "c"], Words(1), Place),
    opt(&["host", "H"], Words(1), Place),
    opt(&["hostfile", "machinefile"], Words(1), Place),
    opt(&["default-hostfile"], Words(1), Place),
    opt(&["npernode", "N"], Words(1), Place),
    opt(&["pernode"], Flag, Place),
    opt(&["npersocket"], Words(1), Place),
    opt(&["ppr"], Words(1), Place),
    opt(&["map-by"], Words(1), Place),
    opt(&["bynode"], Flag, Place),
    opt(&["byslot"], Flag, Place),
    opt(&["bycore"], Flag, Place),
    opt(&["nolocal"], Flag, Place),
    opt(&["oversubscribe"], Flag, Place),
    opt(&["nooversubscribe"], Flag, Place),
    opt(&["mca"], Words(2), Carry),
    opt(&["gmca"], Words(2), Carry),
    opt(&["prtemca"], Words(2), Carry),
    opt(&["pmixmca"], Words(2), Carry),
    opt(&["allow-run-as-root"], Flag, Carry),
    opt(&["prefix"], Words(1), Carry),
    opt(&["noprefix"], Flag, Carry),
    opt(&["am"], Words(1), Carry),
    opt(&["tune"], Words(1), Carry),
    opt(&["personality"], Words(1), Carry),
    opt(&["launch-agent"], Words(1), Carry),
    opt(&["leave-session-attached"], Flag, Carry),
    opt(&["do-not-resolve"], Flag, Carry),
    opt(&["x"], Words(1), Drop),
    opt(&["rank-by"], Words(1), Drop),
    opt(&["bind-to"], Words(1), Drop),
    opt(&["bind-to-core"], Flag, Drop),
    opt(&["bind-to-socket"], Flag, Drop),
    opt(&["report-bindings"], Flag, Drop),
    opt(&["cpus-per-proc", "cpus-per-rank"], Words(1), Drop),
    opt(&["cpu-set", "cpu-list"], Words(1), Drop),
    opt(&["use-hwthread-cpus"], Flag, Drop),
    opt(&["output-filename"], Words(1), Drop),
    opt(&["output"], Words(1), Drop),
    opt(&["stdin"], Words(1), Drop),
    opt(&["merge-stderr-to-stdout"], Flag, Drop),
    opt(&["tag-output"], Flag, Drop),
    opt(&["timestamp-output"], Flag, Drop),
    opt(&["xml"], Flag, Drop),
    opt(&["xterm"], Words(1), Drop),
    opt(&["path"], Words(1), Drop),
    opt(&["wd", "wdir"], Words(1), Drop),
    opt(&["set-cwd-to-session-dir"], Flag, Drop),
    opt(&["timeout"], Words(1), Drop),
    opt(&["get-stack-traces"], Flag, Drop),
    opt(&["report-state-on-timeout"], Flag, Drop),
    opt(&["quiet", "q"], Flag, Drop),
    opt(&["verbose", "v"], Flag, Drop),
    opt(&["version", "V", "help", "h"], Flag, Drop),
    opt(&["display-map"], Flag, Drop),
    opt(&["display-allocation"], Flag, Drop),
    opt(&["display-topo"], Flag, Drop),
    opt(&["display"], Words(1), Drop),
    opt(&["enable-recovery"], Flag, Drop),
    opt(&["disable-recovery"], Flag, Drop),
    opt(&["continuous"], Flag, Drop),
    opt(&["max-restarts"], Words(1), Drop),
    opt(&["report-pid"], Words(1), Drop),
    opt(&["report-uri"], Words(1), Drop),
    opt(&["show-progress"], Flag, Drop),
    opt(
        &["rankfile", "rf"],
        Words(1),
        Refuse("places every rank by itself, which is not understood"),
    ),
    opt(&["app"], Words(1), Refuse("names a file of programs, which is not understood")),
    opt(
        &["hnp"],
        Words(1),
        Refuse("uses daemons that were started before, which is not understood"),
    ),
    opt(
        &["dvm"],
        Words(1),
        Refuse("uses daemons that were started before, which is not understood"),
    ),
    opt(
        &["preload-binary", "s"],
        Flag,
        Refuse("copies PROGRAM to the nodes, which pyshm does as well"),
    ),
];

/// Variables that a launched process needs to reach the others; `-x` of anything else concerns the application.
const TRANSPORT: [&str; 6] = ["OMPI_", "PMIX_", "PRTE_", "UCX_", "FI_", "LD_LIBRARY_PATH"];

/// What the staging step looks like for this command.
pub(super) fn parts(command: &[OsString], world: &World) -> Result<Parts, String> {
    let contexts = parse_contexts(command, TABLE, Dashes::Any)?;
    let ranks = contexts.iter().map(|c| c.number("n")).sum();
    let nodes = nodes(&contexts[0], ranks, world, &command[0])?;
    let mut step = vec![command[0].clone()];
    let given = contexts.iter().flat_map(|c| &c.given);
    for given in given.filter(|g| g.class == Carry || is_transport(g)) {
        step.extend(given.words.iter().cloned());
    }
    match &nodes {
        Nodes::Here => {}
        Nodes::Named(names) => {
            let list = names.iter().map(|n| format!("{n}:1")).collect::<Vec<_>>().join(",");
            step.extend(os(["--host", &list, "--map-by", "ppr:1:node", "--bind-to", "none"]));
            step.extend(os(["-n", &names.len().to_string()]));
        }
        // Without a number it is one on each node of the allocation.
        Nodes::Allocated(_) => step.extend(os(["--map-by", "ppr:1:node", "--bind-to", "none"])),
    }
    let programs = contexts.iter().filter_map(|c| c.program).collect();
    Ok(Parts { programs, nodes, ranks, step })
}

/// Where PROGRAM stands in each context.
pub(super) fn programs(command: &[OsString]) -> Result<Vec<usize>, String> {
    let contexts = parse_contexts(command, TABLE, Dashes::Any)?;
    Ok(contexts.iter().filter_map(|c| c.program).collect())
}

fn is_transport(given: &Given) -> bool {
    let value = given.values.first().map(|v| v.as_bytes()).unwrap_or_default();
    given.name == "x" && TRANSPORT.iter().any(|t| value.starts_with(t.as_bytes()))
}

fn nodes(
    parsed: &Parsed,
    ranks: Option<usize>,
    world: &World,
    launcher: &OsStr,
) -> Result<Nodes, String> {
    let file =
        ["hostfile", "default-hostfile"].iter().find_map(|n| parsed.value(n)).map(OsString::from);
    let file = file.or_else(|| mca(parsed, world, "orte_default_hostfile"));
    let file = file.or_else(|| mca(parsed, world, "prte_default_hostfile"));
    let hosts = if let Some(list) = parsed.value("host") {
        hosts::comma_list(&list.to_string_lossy(), Some(1))
    } else if let Some(file) = file {
        hosts::lines(&world.read(&file)?).map(file_line).collect()
    } else if world.manager().is_some() {
        // Which of the allocation's nodes get ranks is Open MPI's own choice: all of them are staged.
        return crate::launchers::allocation(world, None, None);
    } else {
        site_hosts(world, Path::new(launcher))?
    };
    if hosts.iter().any(|h| h.name.starts_with('+')) {
        return Err("relative host names (+n0, +e) are not understood".into());
    }
    match hosts.is_empty() {
        true => Ok(Nodes::Here),
        false => Ok(world.named(used(&merged(hosts), ranks, parsed))),
    }
}

/// The hosts that get ranks.
fn used(hosts: &[Host], ranks: Option<usize>, parsed: &Parsed) -> Vec<String> {
    let by = parsed.value("map-by").map(|v| v.to_string_lossy().to_lowercase());
    let by = by.as_deref().map(|b| b.split(',').next().unwrap_or(b).to_string());
    let mut per_node = parsed.number("npernode");
    if parsed.has("pernode") {
        per_node = Some(1);
    }
    match by.as_deref() {
        None | Some("slot") => {}
        Some("node") => per_node = Some(1),
        Some(by) => {
            match by.strip_prefix("ppr:").and_then(|p| p.strip_suffix(":node")?.parse().ok()) {
                Some(n) => per_node = Some(n),
                None => return hosts::filled(hosts, None, None),
            }
        }
    }
    if parsed.has("bynode") {
        per_node = Some(1);
    }
    let counted_otherwise =
        ["npersocket", "ppr", "bycore", "nolocal"].iter().any(|n| parsed.has(n));
    hosts::filled(hosts, ranks.filter(|_| !counted_otherwise), per_node)
}

/// `name slots=4 max_slots=8`
fn file_line(line: &str) -> Host {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let name = name.rsplit_once('@').map_or(name, |(_, host)| host);
    let slots = words.find_map(|w| w.strip_prefix("slots=")?.parse().ok());
    Host::new(name, slots)
}

/// A host that is named twice has the sum of its slots.
fn merged(hosts: Vec<Host>) -> Vec<Host> {
    let mut merged: Vec<Host> = Vec::new();
    for host in hosts {
        match merged.iter_mut().find(|h| h.name == host.name) {
            Some(known) => known.slots = known.slots.zip(host.slots).map(|(a, b)| a + b),
            None => merged.push(host),
        }
    }
    merged
}

/// A parameter of the modular component architecture, from the command line or the environment.
fn mca(parsed: &Parsed, world: &World, name: &str) -> Option<OsString> {
    let given = parsed.given.iter().rev().find(|g| g.name.ends_with("mca") && g.values[0] == *name);
    let from_environment =
        || ["OMPI_MCA_", "PRTE_MCA_"].iter().find_map(|p| world.var_os(&format!("{p}{name}")));
    given.map(|g| g.values[1].clone()).or_else(from_environment)
}

/// The site's default host file, which is all comments where Open MPI is as it was installed.
fn site_hosts(world: &World, launcher: &Path) -> Result<Vec<Host>, String> {
    let real = std::fs::canonicalize(launcher).ok();
    let beside =
        real.as_deref().and_then(Path::parent).and_then(Path::parent).map(|p| p.join("etc"));
    let places = beside.into_iter().chain([PathBuf::from("/etc/openmpi")]);
    for name in places
        .flat_map(|p| ["openmpi-default-hostfile", "prte-default-hostfile"].map(|n| p.join(n)))
    {
        if name.exists() {
            return Ok(hosts::lines(&world.read(name.as_os_str())?).map(file_line).collect());
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchers::tests::{check, refused, words, world};

    fn step(text: &str) -> String {
        check(&parts(&words(text), &world(&[])).unwrap())
    }

    #[test]
    fn no_hosts_means_this_node() {
        let p = parts(&words("mpirun -np 4 --bind-to none python app.py"), &world(&[])).unwrap();
        assert_eq!((p.nodes, p.programs, p.ranks), (Nodes::Here, vec![5], Some(4)));
    }

    #[test]
    fn only_nodes_that_get_ranks_are_staged() {
        let tail = "--map-by ppr:1:node --bind-to none";
        assert_eq!(
            step("mpirun --host a:2,b:2,c:2 -n 3 x"),
            format!("mpirun --host a:1,b:1 {tail} -n 2")
        );
        assert_eq!(step("mpirun -H a,a,b -n 2 x"), format!("mpirun --host a:1 {tail} -n 1"));
        assert_eq!(
            step("mpirun -H a:4,b:4 --map-by ppr:1:node -n 2 x"),
            format!("mpirun --host a:1,b:1 {tail} -n 2")
        );
        assert_eq!(
            step("mpirun -H a:4,b:4 --map-by node -n 2 x"),
            format!("mpirun --host a:1,b:1 {tail} -n 2")
        );
        assert_eq!(
            step("mpirun -H a:4,b:4 -npernode 2 -n 2 x"),
            format!("mpirun --host a:1 {tail} -n 1")
        );
        assert_eq!(
            step("mpirun -H a:4,b:4 --map-by core -n 2 x"),
            format!("mpirun --host a:1,b:1 {tail} -n 2")
        );
    }

    #[test]
    fn a_host_file_without_slots_takes_all_its_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hosts");
        std::fs::write(&file, "n1 slots=2 max_slots=4\nn2 slots=2 # x\nn3\nn4 slots=2\n").unwrap();
        let text = format!("mpirun --hostfile {} -n 3 x", file.display());
        assert!(step(&text).contains("--host n1:1,n2:1 "));
        let text = format!("mpirun --hostfile {} -n 5 x", file.display());
        assert!(step(&text).contains("--host n1:1,n2:1,n3:1,n4:1 "));
    }

    #[test]
    fn options_that_reach_the_nodes_are_carried_and_the_rest_is_not() {
        let got = step(
            "mpirun --allow-run-as-root --mca plm_rsh_agent /x/ssh -x OMPI_MCA_a -x HOME --tag-output -H a:1,b:1 -n 2 x",
        );
        let want =
            "mpirun --allow-run-as-root --mca plm_rsh_agent /x/ssh -x OMPI_MCA_a --host a:1,b:1";
        assert!(got.starts_with(want), "{got}");
    }

    #[test]
    fn in_an_allocation_every_node_is_staged() {
        let w = world(&[
            ("SLURM_JOB_ID", "7"),
            ("SLURM_NNODES", "4"),
            ("SLURM_JOB_NODELIST", "n[1-4]"),
        ]);
        let p = parts(&words("mpirun -n 2 x"), &w).unwrap();
        assert_eq!(p.nodes, Nodes::Allocated(Some(4)));
        assert_eq!(check(&p), "mpirun --map-by ppr:1:node --bind-to none");
    }

    #[test]
    fn the_ranks_of_all_contexts_fill_the_slots() {
        let text = "mpirun -H a:2,b:2,c:2 -n 1 server : -n 2 -x UCX_TLS python x.py";
        let p = parts(&words(text), &world(&[])).unwrap();
        assert_eq!((&p.programs[..], p.ranks), (&[5, 11][..], Some(3)));
        let tail = "--map-by ppr:1:node --bind-to none -n 2";
        assert_eq!(check(&p), format!("mpirun -x UCX_TLS --host a:1,b:1 {tail}"));
        // One that does not say its number takes what is free.
        assert_eq!(parts(&words("mpirun -n 1 a : b"), &world(&[])).unwrap().ranks, None);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        refused(parts(&words("mpirun --strange x"), &world(&[])), "--strange");
        refused(parts(&words("mpirun -rf file x"), &world(&[])), "-rf");
        refused(parts(&words("mpirun -H +n0 x"), &world(&[])), "+n0");
        refused(parts(&words("mpirun -n 1 a : -H b -n 1 b"), &world(&[])), "-H");
    }
}
