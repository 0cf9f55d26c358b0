//! What a launcher's command line means: which word is PROGRAM, which nodes get ranks, and how one process is started
//! on each of the same nodes for the staging step.
//!
//! Everything here is pure but for reading host files, so that it can be tested without a launcher. One file per
//! family holds its options; an option that is not there is an error that names it, see [`options`].
#![forbid(unsafe_code)]

mod family;
pub mod hosts;
mod hydra;
pub mod launch_env;
mod openmpi;
pub mod options;
pub mod rank_env;
pub mod slurm;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use crate::error::{Error, Result};
use crate::install::Mpi;
pub use crate::launchers::family::{Family, is_launcher};
use crate::settings;

/// The nodes that get ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// This node only: no MPI is needed to stage.
    Here,
    /// These, by name.
    Named(Vec<String>),
    /// Those of the allocation that the launcher finds by itself, and their number where it is known.
    Allocated(Option<usize>),
}

/// What a family's own file finds out.
#[derive(Debug)]
struct Parts {
    programs: Vec<usize>,
    nodes: Nodes,
    ranks: Option<usize>,
    /// The launcher and its options, up to where the helper's name goes.
    step: Vec<OsString>,
}

/// How to stage for a command.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Indices of the words that are replaced by the trampoline: one in each context of `a : b`.
    pub programs: Vec<usize>,
    /// The nodes.
    pub nodes: Nodes,
    /// Number of ranks, where it is known.
    pub ranks: Option<usize>,
    /// Command line of the step, up to where the helper's name goes.
    pub step: Vec<OsString>,
    /// The MPI whose helper this launcher can start.
    pub mpi: Mpi,
    /// Number of nodes that the step must have, where it is known.
    pub promised: Option<usize>,
}

/// The environment as far as launchers look at it.
#[derive(Debug, Default)]
pub struct World {
    variables: HashMap<OsString, OsString>,
    here: String,
    /// Asks for Slurm's MpiDefault; only where nothing else says which MPI a step is for.
    mpi_default: Option<fn() -> Option<String>>,
    /// What the settings add to the staging step of a launcher, by its family.
    options: HashMap<&'static str, Vec<OsString>>,
}

impl World {
    /// This process's.
    #[must_use]
    pub fn current() -> Self {
        let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let words = |words: &[String]| words.iter().map(OsString::from).collect();
        let options = settings::step_options().map(|(name, said, _)| (name, words(said)));
        Self {
            variables: std::env::vars_os().collect(),
            here,
            mpi_default: Some(slurm::mpi_default),
            options: options.collect(),
        }
    }

    fn var_os(&self, name: &str) -> Option<OsString> {
        self.variables.get(OsStr::new(name)).filter(|v| !v.is_empty()).cloned()
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<String> {
        self.var_os(name)?.into_string().ok()
    }

    fn read(&self, file: &OsStr) -> Result<String, String> {
        std::fs::read_to_string(file)
            .map_err(|e| format!("host file {} cannot be read ({e})", file.display()))
    }

    /// The variable by which a resource manager shows itself.
    fn manager(&self) -> Option<&'static str> {
        let known =
            ["SLURM_JOB_ID", "PBS_NODEFILE", "LSB_MCPU_HOSTS", "PE_HOSTFILE", "COBALT_NODEFILE"];
        known.into_iter().find(|name| self.var(name).is_some())
    }

    fn named(&self, names: Vec<String>) -> Nodes {
        match names.iter().all(|n| hosts::is_here(n, &self.here)) {
            true => Nodes::Here,
            false => Nodes::Named(names),
        }
    }
}

/// The nodes of the resource manager's allocation; this node only where there is none.
fn allocation(
    world: &World,
    ranks: Option<usize>,
    per_node: Option<usize>,
) -> Result<Nodes, String> {
    let (names, slots) = match world.manager() {
        None => return Ok(Nodes::Here),
        Some("SLURM_JOB_ID") => {
            let list = world.var("SLURM_JOB_NODELIST").or_else(|| world.var("SLURM_NODELIST"));
            let number = world.var("SLURM_NNODES").or_else(|| world.var("SLURM_JOB_NUM_NODES"));
            let Some(names) = list.and_then(|l| hosts::expand(&l)) else {
                return Ok(Nodes::Allocated(number.and_then(|n| n.parse().ok())));
            };
            let slots = world
                .var("SLURM_TASKS_PER_NODE")
                .and_then(|t| hosts::repeated(&t))
                .unwrap_or_default();
            (names, slots)
        }
        Some("PBS_NODEFILE") => {
            let text = world.read(&world.var_os("PBS_NODEFILE").unwrap_or_default())?;
            let mut counted: Vec<(String, usize)> = Vec::new();
            for line in hosts::lines(&text) {
                match counted.iter_mut().find(|(name, _)| name == line) {
                    Some((_, slots)) => *slots += 1,
                    None => counted.push((line.to_string(), 1)),
                }
            }
            counted.into_iter().unzip()
        }
        Some(other) => {
            return Err(format!("the resource manager that sets {other} is not understood"));
        }
    };
    let hosts: Vec<_> = names
        .into_iter()
        .enumerate()
        .map(|(i, name)| hosts::Host::new(name, slots.get(i).copied()))
        .collect();
    let used = hosts::filled(&hosts, ranks, per_node);
    Ok(match world.named(used) {
        Nodes::Named(used) => Nodes::Allocated(Some(used.len())),
        nodes => nodes,
    })
}

/// How the command that starts with a launcher is staged; `None` when it starts no program (`mpiexec --version`).
///
/// # Errors
/// [`Error::Unavailable`] when it is not understood; it says what to set.
pub fn plan(command: &[OsString], family: Family, world: &World) -> Result<Option<Plan>> {
    let parts = match family {
        Family::Hydra => hydra::parts(command, world),
        Family::OpenMpi => openmpi::parts(command, world),
        Family::Slurm => slurm::parts(command, world),
    };
    let Some(words) = world.var("PYSHM_BCAST_LAUNCH") else {
        let parts = parts.map_err(|reason| not_understood(&command[0], &reason))?;
        let promised = match &parts.nodes {
            Nodes::Here => Some(1),
            Nodes::Named(names) => Some(names.len()),
            Nodes::Allocated(count) => *count,
        };
        let mpi = family.mpi(&parts.step, world);
        let Parts { programs, nodes, ranks, mut step } = parts;
        step.extend(world.options.get(family.name()).into_iter().flatten().cloned());
        let plan = Plan { programs, nodes, ranks, step, mpi, promised };
        return Ok((!plan.programs.is_empty()).then_some(plan));
    };
    let step = split_words(&words);
    if step.is_empty() {
        return Err(Error::Usage("PYSHM_BCAST_LAUNCH has an open quote".into()));
    }
    let (programs, ranks) = match (parts, world.var_os("PYSHM_PROGRAM")) {
        (_, Some(program)) => (named_words(command, &program)?, None),
        (Ok(parts), None) => (parts.programs, parts.ranks),
        (Err(reason), None) => return Err(not_understood(&command[0], &reason)),
    };
    let mpi = family.mpi(&step, world);
    let plan = Plan { nodes: Nodes::Allocated(None), ranks, step, mpi, promised: None, programs };
    Ok((!plan.programs.is_empty()).then_some(plan))
}

/// The places of PROGRAM in a command whose options are known, though it may not be possible to stage for it.
#[must_use]
pub fn programs(command: &[OsString], family: Family) -> Option<Vec<usize>> {
    let programs = match family {
        Family::Hydra => hydra::programs(command),
        Family::OpenMpi => openmpi::programs(command),
        Family::Slurm => slurm::programs(command),
    };
    programs.ok().filter(|programs| !programs.is_empty())
}

fn named_words(command: &[OsString], program: &OsStr) -> Result<Vec<usize>> {
    let found: Vec<usize> = (1..command.len()).filter(|i| command[*i] == program).collect();
    match found.is_empty() {
        true => Err(Error::Usage(format!(
            "PYSHM_PROGRAM names {}, which is no word of the command",
            program.display()
        ))),
        false => Ok(found),
    }
}

fn not_understood(launcher: &OsStr, reason: &str) -> Error {
    Error::Unavailable(format!(
        "failed to understand the command of {}: {reason}; set PYSHM_BCAST_LAUNCH to the command that starts one \
         process on each of the job's nodes and PYSHM_PROGRAM to the word that is the program",
        launcher.display()
    ))
}

/// Splits like a shell at blanks, with quotes and backslashes; empty when a quote stays open.
fn split_words(text: &str) -> Vec<OsString> {
    let (mut words, mut word, mut quote, mut escaped) = (Vec::new(), None::<String>, None, false);
    for c in text.chars() {
        match (quote, c) {
            _ if escaped => {
                word.get_or_insert_default().push(c);
                escaped = false;
            }
            (None | Some('"'), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() {
        return Vec::new();
    }
    words.into_iter().map(OsString::from).collect()
}

fn os<const N: usize>(words: [&str; N]) -> [OsString; N] {
    words.map(OsString::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    pub(super) fn world(variables: &[(&str, &str)]) -> World {
        let variables = variables.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        World { variables, here: "login".into(), ..World::default() }
    }

    pub(super) fn check(parts: &Parts) -> String {
        parts.step.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn refused(parts: Result<Parts, String>, names: &str) {
        let reason = parts.unwrap_err();
        assert!(reason.contains(names), "{reason}");
    }

    #[test]
    fn what_is_not_understood_names_the_option_and_the_way_out() {
        let error =
            plan(&words("mpiexec -odd 1 x"), Family::Hydra, &world(&[])).unwrap_err().to_string();
        assert!(error.contains("-odd") && error.contains("PYSHM_BCAST_LAUNCH"), "{error}");
    }

    #[test]
    fn the_way_out_takes_the_whole_launch_and_the_programs_name() {
        let w = world(&[
            ("PYSHM_BCAST_LAUNCH", "srun -n 4 --comment 'a b'"),
            ("PYSHM_PROGRAM", "python"),
        ]);
        let p = plan(&words("mpiexec -odd 1 python a : -n 1 python b"), Family::Hydra, &w)
            .unwrap()
            .unwrap();
        assert_eq!(p.programs, [3, 8]);
        assert_eq!(p.step, ["srun", "-n", "4", "--comment", "a b"]);
        assert_eq!(p.promised, None);
    }

    #[test]
    fn the_way_out_needs_no_name_where_the_command_is_understood() {
        let w = world(&[("PYSHM_BCAST_LAUNCH", "mpiexec -n 4")]);
        let p = plan(&words("mpiexec -n 8 python a"), Family::Hydra, &w).unwrap().unwrap();
        assert_eq!((p.programs, p.ranks), (vec![3], Some(8)));
    }

    #[test]
    fn the_settings_add_words_to_the_step_of_their_launcher() {
        let mut w = world(&[]);
        w.options.insert("hydra", os(["-iface", "ib0"]).to_vec());
        let command = words("mpiexec -hosts n1,n2 -n 8 python a");
        let p = plan(&command, Family::Hydra, &w).unwrap().unwrap();
        assert!(p.step.ends_with(&os(["-iface", "ib0"])), "{:?}", p.step);
        w.options = [("srun", os(["-A", "x"]).to_vec())].into();
        let p = plan(&command, Family::Hydra, &w).unwrap().unwrap();
        assert!(!p.step.contains(&"-A".into()));
    }

    #[test]
    fn a_command_without_program_is_not_staged() {
        assert!(plan(&words("mpiexec --version"), Family::Hydra, &world(&[])).unwrap().is_none());
        assert!(plan(&words("srun --version"), Family::Slurm, &world(&[])).unwrap().is_none());
    }

    #[test]
    fn words_split_as_in_a_shell() {
        assert_eq!(split_words(r#"a 'b c' "d\"e" f\ g """#), ["a", "b c", "d\"e", "f g", ""]);
        assert!(split_words("a 'b").is_empty());
    }
}
