//! Reads the nodes of a resource manager's allocation.
//!
//! A launcher that is given no hosts takes the nodes of the allocation, and any launcher may run under any resource
//! manager. So the resource managers have a table of their own.
#![forbid(unsafe_code)]

use crate::launchers::environment::Environment;
use crate::launchers::hosts;
use crate::launchers::hosts::Host;
use crate::launchers::launch::Nodes;
use crate::launchers::not_understood::NotUnderstood;

/// What a resource manager says about its allocation.
enum Allocation {
    /// The allocation's nodes, in the order in which launchers fill them.
    Hosts(Vec<Host>),
    /// Only the number of the allocation's nodes; `None` if that is not known either.
    Count(Option<usize>),
}

type Read = fn(&Environment) -> Result<Allocation, NotUnderstood>;

/// Resource managers: the variable that exists in an allocation, and the function that reads the allocation's nodes;
/// `None` if pyshm cannot read the nodes.
const MANAGERS: [(&str, Option<Read>); 5] = [
    ("SLURM_JOB_ID", Some(of_slurm)),
    ("PBS_NODEFILE", Some(of_pbs)),
    ("LSB_MCPU_HOSTS", None),
    ("PE_HOSTFILE", None),
    ("COBALT_NODEFILE", None),
];

fn manager(environment: &Environment) -> Option<&'static (&'static str, Option<Read>)> {
    MANAGERS.iter().find(|(variable, _)| environment.var(variable).is_some())
}

/// Whether a resource manager started this job.
pub fn is_allocated(environment: &Environment) -> bool {
    manager(environment).is_some()
}

/// Finds the nodes that get ranks if `ranks` ranks fill the allocation, with `per_node` ranks on each node if that is
/// given. Without an allocation, only this node gets ranks.
///
/// # Errors
/// [`NotUnderstood::ResourceManager`], and [`NotUnderstood::HostFile`] when the list of nodes cannot be read.
pub fn nodes(
    environment: &Environment,
    ranks: Option<usize>,
    per_node: Option<usize>,
) -> Result<Nodes, NotUnderstood> {
    let Some((variable, read)) = manager(environment) else { return Ok(Nodes::Here) };
    let read = read.ok_or(NotUnderstood::ResourceManager(variable))?;
    let hosts = match read(environment)? {
        Allocation::Hosts(hosts) => hosts,
        Allocation::Count(count) => return Ok(Nodes::Allocated(count)),
    };
    Ok(match Nodes::named(hosts::filled(&hosts, ranks, per_node), environment) {
        Nodes::Named(used) => Nodes::Allocated(Some(used.len())),
        nodes => nodes,
    })
}

fn of_slurm(environment: &Environment) -> Result<Allocation, NotUnderstood> {
    let list = environment.var("SLURM_JOB_NODELIST").or_else(|| environment.var("SLURM_NODELIST"));
    let Some(names) = list.and_then(|list| hosts::expand_slurm_list(&list)) else {
        let count = environment
            .var("SLURM_NNODES")
            .or_else(|| environment.var("SLURM_JOB_NUM_NODES"))
            .and_then(|count| count.parse().ok());
        return Ok(Allocation::Count(count));
    };
    let slots = environment
        .var("SLURM_TASKS_PER_NODE")
        .and_then(|tasks| hosts::expand_slurm_counts(&tasks))
        .unwrap_or_default();
    let host = |(i, name)| Host::new(name, slots.get(i).copied());
    Ok(Allocation::Hosts(names.into_iter().enumerate().map(host).collect()))
}

/// Reads PBS's file of nodes, in which a node has one line for each of its ranks.
fn of_pbs(environment: &Environment) -> Result<Allocation, NotUnderstood> {
    let file = environment.var_os("PBS_NODEFILE").unwrap_or_default();
    let text = environment.read_host_file(&file)?;
    let lines = hosts::lines(&text).map(|line| Host::new(line, Some(1)));
    Ok(Allocation::Hosts(hosts::merge_same_names(lines)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchers::testing::environment;

    #[test]
    fn a_node_of_pbs_takes_as_many_ranks_as_it_has_lines() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nodes");
        std::fs::write(&file, "n1\nn1\nn2\nn2\nn3\nn3\n").unwrap();
        let pbs = environment(&[("PBS_NODEFILE", file.to_str().unwrap())]);
        let count = |ranks, per_node| nodes(&pbs, ranks, per_node).unwrap().count();
        assert_eq!(count(Some(3), None), Some(2));
        assert_eq!(count(Some(3), Some(1)), Some(3));
        assert_eq!(count(None, None), Some(3));
    }

    #[test]
    fn an_allocation_that_is_not_understood_is_named_by_its_variable() {
        assert_eq!(nodes(&environment(&[]), None, None).unwrap(), Nodes::Here);
        let lsf = environment(&[("LSB_MCPU_HOSTS", "n1 4 n2 4")]);
        let reason = nodes(&lsf, None, None).unwrap_err().to_string();
        assert!(is_allocated(&lsf) && reason.contains("LSB_MCPU_HOSTS"), "{reason}");
    }
}
