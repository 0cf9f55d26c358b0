//! Reads the command lines of Open MPI 4 and 5: `mpirun`, `mpiexec`, `prterun`.
//!
//! Open MPI fills the slots of `--host`, of `--hostfile` or of the resource manager's nodes, or distributes ranks over
//! the nodes in turn. If a host file gives a node no slots, Open MPI counts the node's cores, and pyshm does not know
//! how many there are. If ranks may reach such a node, pyshm also stages on all nodes after it in the file.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use Arity::{Flag, Words};
use Handling::{Carry, Omit, Placement, Refuse};

use crate::launchers::environment::Environment;
use crate::launchers::hosts::Host;
use crate::launchers::launch::{Launch, Nodes};
use crate::launchers::launcher::{Launcher, RankVariables};
use crate::launchers::mpi::Mpi;
use crate::launchers::not_understood::NotUnderstood;
use crate::launchers::options::{
    Arity, Dashes, Given, Handling, Opt, Parsed, opt, os, parse_parts, programs,
};
use crate::launchers::{allocation, hosts};

/// `mpirun` of Open MPI, `prterun`.
#[derive(Debug)]
pub struct OpenMpi;

/// Source: Open MPI FAQ, "What environment variables are set". The variables that name the launch are not documented.
const RANKS: RankVariables = RankVariables {
    rank: "OMPI_COMM_WORLD_RANK",
    local_size: Some("OMPI_COMM_WORLD_LOCAL_SIZE"),
    launch: &["OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_hnp_uri"],
};

/// The options, from the manual of 4.1 and `mpirun --help` of 5.0.
const TABLE: &[Opt] = &[
    opt(&["n", "np", "c"], Words(1), Placement),
    opt(&["host", "H"], Words(1), Placement),
    opt(&["hostfile", "machinefile"], Words(1), Placement),
    opt(&["default-hostfile"], Words(1), Placement),
    opt(&["npernode", "N"], Words(1), Placement),
    opt(&["pernode"], Flag, Placement),
    opt(&["npersocket"], Words(1), Placement),
    opt(&["ppr"], Words(1), Placement),
    opt(&["map-by"], Words(1), Placement),
    opt(&["bynode"], Flag, Placement),
    opt(&["byslot"], Flag, Placement),
    opt(&["bycore"], Flag, Placement),
    opt(&["nolocal"], Flag, Placement),
    opt(&["oversubscribe"], Flag, Placement),
    opt(&["nooversubscribe"], Flag, Placement),
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
    opt(&["x"], Words(1), Omit),
    opt(&["rank-by"], Words(1), Omit),
    opt(&["bind-to"], Words(1), Omit),
    opt(&["bind-to-core"], Flag, Omit),
    opt(&["bind-to-socket"], Flag, Omit),
    opt(&["report-bindings"], Flag, Omit),
    opt(&["cpus-per-proc", "cpus-per-rank"], Words(1), Omit),
    opt(&["cpu-set", "cpu-list"], Words(1), Omit),
    opt(&["use-hwthread-cpus"], Flag, Omit),
    opt(&["output-filename"], Words(1), Omit),
    opt(&["output"], Words(1), Omit),
    opt(&["stdin"], Words(1), Omit),
    opt(&["merge-stderr-to-stdout"], Flag, Omit),
    opt(&["tag-output"], Flag, Omit),
    opt(&["timestamp-output"], Flag, Omit),
    opt(&["xml"], Flag, Omit),
    opt(&["xterm"], Words(1), Omit),
    opt(&["path"], Words(1), Omit),
    opt(&["wd", "wdir"], Words(1), Omit),
    opt(&["set-cwd-to-session-dir"], Flag, Omit),
    opt(&["timeout"], Words(1), Omit),
    opt(&["get-stack-traces"], Flag, Omit),
    opt(&["report-state-on-timeout"], Flag, Omit),
    opt(&["quiet", "q"], Flag, Omit),
    opt(&["verbose", "v"], Flag, Omit),
    opt(&["version", "V", "help", "h"], Flag, Omit),
    opt(&["display-map"], Flag, Omit),
    opt(&["display-allocation"], Flag, Omit),
    opt(&["display-topo"], Flag, Omit),
    opt(&["display"], Words(1), Omit),
    opt(&["enable-recovery"], Flag, Omit),
    opt(&["disable-recovery"], Flag, Omit),
    opt(&["continuous"], Flag, Omit),
    opt(&["max-restarts"], Words(1), Omit),
    opt(&["report-pid"], Words(1), Omit),
    opt(&["report-uri"], Words(1), Omit),
    opt(&["show-progress"], Flag, Omit),
    opt(
        &["rankfile", "rf"],
        Words(1),
        Refuse("places each rank separately, which is not understood"),
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

/// Prefixes of variables that the processes of the staging step need to reach each other. An `-x` with any other
/// variable is for the application, and the step does not get it.
const TRANSPORT: [&str; 6] = ["OMPI_", "PMIX_", "PRTE_", "UCX_", "FI_", "LD_LIBRARY_PATH"];

impl Launcher for OpenMpi {
    fn name(&self) -> &'static str {
        "Open MPI"
    }

    fn ranks(&self) -> &'static RankVariables {
        &RANKS
    }

    fn file_names(&self) -> &'static [&'static str] {
        &["mpiexec", "mpirun", "mpiexec.openmpi", "mpirun.openmpi", "orterun", "prterun"]
    }

    fn settings_key(&self) -> Option<&'static str> {
        Some("openmpi")
    }

    fn is_told_by_version(&self, text: &str) -> bool {
        // Hydra prints how it was configured, with paths that may contain any of these names.
        let is_hydra = text.contains("HYDRA");
        !is_hydra && ["Open MPI", "OpenRTE", "PRRTE", "PRTE"].iter().any(|n| text.contains(n))
    }

    fn read(
        &self,
        command: &[OsString],
        environment: &Environment,
    ) -> Result<Launch, NotUnderstood> {
        let parts = parse_parts(command, TABLE, Dashes::Any)?;
        let ranks = parts.iter().map(|part| part.number("n")).sum();
        let nodes = nodes(&parts[0], ranks, environment, &command[0])?;
        let mut step = vec![command[0].clone()];
        let given = parts.iter().flat_map(|part| &part.given);
        for given in given.filter(|given| given.handling == Carry || is_transport(given)) {
            step.extend(given.words.iter().cloned());
        }
        match &nodes {
            Nodes::Here => {}
            Nodes::Named(names) => {
                let list = names.iter().map(|n| format!("{n}:1")).collect::<Vec<_>>().join(",");
                step.extend(os(["--host", &list, "--map-by", "ppr:1:node", "--bind-to", "none"]));
                step.extend(os(["-n", &names.len().to_string()]));
            }
            // Without a number of ranks, Open MPI starts one on each node of the allocation.
            Nodes::Allocated(_) => {
                step.extend(os(["--map-by", "ppr:1:node", "--bind-to", "none"]));
            }
        }
        Ok(Launch { programs: programs(&parts), nodes, ranks, step })
    }

    fn programs(&self, command: &[OsString]) -> Result<Vec<usize>, NotUnderstood> {
        parse_parts(command, TABLE, Dashes::Any).map(|parts| programs(&parts))
    }

    fn mpis(&self) -> &'static [Mpi] {
        &[Mpi::OpenMpi]
    }
}

fn is_transport(given: &Given) -> bool {
    let value = given.values.first().map(|v| v.as_bytes()).unwrap_or_default();
    given.name == "x" && TRANSPORT.iter().any(|t| value.starts_with(t.as_bytes()))
}

fn nodes(
    first: &Parsed,
    ranks: Option<usize>,
    environment: &Environment,
    launcher: &OsStr,
) -> Result<Nodes, NotUnderstood> {
    let file = ["hostfile", "default-hostfile"].iter().find_map(|name| first.value(name));
    let file = file
        .map(OsString::from)
        .or_else(|| mca(first, environment, "orte_default_hostfile"))
        .or_else(|| mca(first, environment, "prte_default_hostfile"));
    let hosts = if let Some(list) = first.value("host") {
        hosts::comma_list(&list.to_string_lossy(), Some(1))
    } else if let Some(file) = file {
        read_hosts(&file, environment)?
    } else if allocation::is_allocated(environment) {
        // Open MPI itself chooses which of the allocation's nodes get ranks: all of them are staged.
        return allocation::nodes(environment, None, None);
    } else {
        site_hosts(environment, Path::new(launcher))?
    };
    if hosts.iter().any(|host| host.name.starts_with('+')) {
        let reason = "relative host names (+n0, +e) are not understood";
        return Err(NotUnderstood::Form(reason));
    }
    if hosts.is_empty() {
        return Ok(Nodes::Here);
    }
    let hosts = hosts::merge_same_names(hosts);
    Ok(Nodes::named(used(&hosts, ranks, first), environment))
}

/// Returns the hosts that get ranks.
fn used(hosts: &[Host], ranks: Option<usize>, first: &Parsed) -> Vec<String> {
    let by = first.value("map-by").map(|value| value.to_string_lossy().to_lowercase());
    let by = by.as_deref().map(|by| by.split(',').next().unwrap_or(by));
    let mut per_node = first.number("npernode");
    if first.has("pernode") {
        per_node = Some(1);
    }
    match by {
        None | Some("slot") => {}
        Some("node") => per_node = Some(1),
        Some(by) => {
            match by.strip_prefix("ppr:").and_then(|p| p.strip_suffix(":node")?.parse().ok()) {
                Some(number) => per_node = Some(number),
                None => return hosts::filled(hosts, None, None),
            }
        }
    }
    if first.has("bynode") {
        per_node = Some(1);
    }
    let counts_otherwise =
        ["npersocket", "ppr", "bycore", "nolocal"].iter().any(|name| first.has(name));
    hosts::filled(hosts, ranks.filter(|_| !counts_otherwise), per_node)
}

fn read_hosts(file: &OsStr, environment: &Environment) -> Result<Vec<Host>, NotUnderstood> {
    Ok(hosts::lines(&environment.read_host_file(file)?).map(host_of_line).collect())
}

/// Reads a line of a host file: `name slots=4 max_slots=8`.
fn host_of_line(line: &str) -> Host {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let name = name.rsplit_once('@').map_or(name, |(_user, host)| host);
    let slots = words.find_map(|word| word.strip_prefix("slots=")?.parse().ok());
    Host::new(name, slots)
}

/// Returns the value of a parameter of Open MPI's Modular Component Architecture, from the command line or the
/// environment.
fn mca(first: &Parsed, environment: &Environment, name: &str) -> Option<OsString> {
    let given = first.given.iter().rev().find(|g| g.name.ends_with("mca") && g.values[0] == *name);
    let from_environment = || {
        let prefixes = ["OMPI_MCA_", "PRTE_MCA_"];
        prefixes.iter().find_map(|prefix| environment.var_os(&format!("{prefix}{name}")))
    };
    given.map(|given| given.values[1].clone()).or_else(from_environment)
}

/// Reads the hosts of the site's default host file. The file that Open MPI installs has only comments.
fn site_hosts(environment: &Environment, launcher: &Path) -> Result<Vec<Host>, NotUnderstood> {
    let real = std::fs::canonicalize(launcher).ok();
    let installed =
        real.as_deref().and_then(Path::parent).and_then(Path::parent).map(|p| p.join("etc"));
    let places = installed.into_iter().chain([PathBuf::from("/etc/openmpi")]);
    let mut files = places
        .flat_map(|p| ["openmpi-default-hostfile", "prte-default-hostfile"].map(|n| p.join(n)));
    let found = files.find(|file| file.exists());
    found.map_or(Ok(Vec::new()), |file| read_hosts(file.as_os_str(), environment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchers::testing;
    use crate::launchers::testing::{environment, refused, words};

    fn read(text: &str) -> Result<Launch, NotUnderstood> {
        OpenMpi.read(&words(text), &environment(&[]))
    }

    fn step(text: &str) -> String {
        testing::step(&read(text).unwrap())
    }

    #[test]
    fn no_hosts_means_this_node() {
        let launch = read("mpirun -np 4 --bind-to none python app.py").unwrap();
        assert_eq!((launch.nodes, launch.programs, launch.ranks), (Nodes::Here, vec![5], Some(4)));
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
        let w = environment(&[
            ("SLURM_JOB_ID", "7"),
            ("SLURM_NNODES", "4"),
            ("SLURM_JOB_NODELIST", "n[1-4]"),
        ]);
        let launch = OpenMpi.read(&words("mpirun -n 2 x"), &w).unwrap();
        assert_eq!(launch.nodes, Nodes::Allocated(Some(4)));
        assert_eq!(testing::step(&launch), "mpirun --map-by ppr:1:node --bind-to none");
    }

    #[test]
    fn the_ranks_of_all_parts_fill_the_slots() {
        let text = "mpirun -H a:2,b:2,c:2 -n 1 server : -n 2 -x UCX_TLS python x.py";
        let launch = read(text).unwrap();
        assert_eq!((&launch.programs[..], launch.ranks), (&[5, 11][..], Some(3)));
        let tail = "--map-by ppr:1:node --bind-to none -n 2";
        assert_eq!(testing::step(&launch), format!("mpirun -x UCX_TLS --host a:1,b:1 {tail}"));
        // A part without `-n` takes all free slots, so the total is not known.
        assert_eq!(read("mpirun -n 1 a : b").unwrap().ranks, None);
    }

    #[test]
    fn a_command_that_is_not_understood_is_refused() {
        refused(read("mpirun --strange x"), "--strange");
        refused(read("mpirun -rf file x"), "-rf");
        refused(read("mpirun -H +n0 x"), "+n0");
        refused(read("mpirun -n 1 a : -H b -n 1 b"), "-H");
    }
}
