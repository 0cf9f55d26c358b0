//! Plans how a launcher's command is staged: where the trampoline goes, and the command line of the staging step.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};

use crate::error::{Error, Result};
use crate::launchers::environment::Environment;
use crate::launchers::launch::{Launch, Nodes};
use crate::launchers::launcher::Launcher;
use crate::launchers::mpi::Mpi;
use crate::launchers::not_understood::{NotUnderstood, WAY_OUT};

/// The variable with the user's command line for the staging step.
const STEP: &str = "PYSHM_BCAST_LAUNCH";
/// The variable with the word of the user's command that is PROGRAM.
const PROGRAM: &str = "PYSHM_PROGRAM";

/// How a launcher's command is staged.
#[derive(Debug, Clone)]
pub struct StagingPlan {
    /// The indices of the words that are PROGRAM, before which the trampoline goes: one in each part of `a : b`.
    pub programs: Vec<usize>,
    /// The nodes that are staged.
    pub nodes: Nodes,
    /// The number of nodes that the step must have, if it is known.
    pub expected_nodes: Option<usize>,
    /// The number of the command's ranks, if it is known.
    pub ranks: Option<usize>,
    /// The command line of the staging step, up to the place where the broadcast helper goes.
    pub step: Vec<OsString>,
    /// The MPI whose broadcast helper the step starts.
    pub mpi: Mpi,
    /// Whether the launcher may go on waiting after all its processes have ended.
    pub may_hang: bool,
}

/// Plans how `command`, which starts with `launcher`, is staged; `None` when `command` starts no program (`mpiexec
/// --version`).
///
/// # Errors
/// [`Error::CannotRun`] when the command is not understood, [`Error::Usage`] when the variables with which the user
/// explains the command make no sense.
pub fn plan(
    command: &[OsString],
    launcher: &dyn Launcher,
    environment: &Environment,
) -> Result<Option<StagingPlan>> {
    let launch = launcher.read(command, environment);
    let not_understood = |reason| not_understood(&command[0], reason);
    let told = environment.var(STEP);
    let Launch { programs, nodes, ranks, mut step } = match &told {
        Some(words) => {
            let step = split_words(words);
            if step.is_empty() {
                return Err(Error::Usage(format!(
                    "failed to read {STEP}: it has an open quote; close it"
                )));
            }
            let (programs, ranks) = match environment.var_os(PROGRAM) {
                Some(program) => (named_words(command, &program)?, None),
                None => launch.map(|l| (l.programs, l.ranks)).map_err(not_understood)?,
            };
            Launch { programs, nodes: Nodes::Allocated(None), ranks, step }
        }
        None => launch.map_err(not_understood)?,
    };
    if programs.is_empty() {
        return Ok(None);
    }
    let mpi = environment.first_with_helper(launcher.mpis_for(&step, environment));
    if let (None, Some(key)) = (told, launcher.settings_key()) {
        step.extend(environment.step_options(key));
    }
    let (expected_nodes, may_hang) = (nodes.count(), launcher.may_hang());
    Ok(Some(StagingPlan { programs, nodes, expected_nodes, ranks, step, mpi, may_hang }))
}

/// Returns the indices of PROGRAM in a command whose options are understood, even if the command cannot be staged.
#[must_use]
pub fn programs(command: &[OsString], launcher: &dyn Launcher) -> Option<Vec<usize>> {
    launcher.programs(command).ok().filter(|programs| !programs.is_empty())
}

/// Whether the user has said both how the staging step is started and which word is PROGRAM. Then pyshm does not need
/// to know the launcher.
#[must_use]
pub fn is_told_by_user(environment: &Environment) -> bool {
    environment.var(STEP).is_some() && environment.var(PROGRAM).is_some()
}

fn named_words(command: &[OsString], program: &OsStr) -> Result<Vec<usize>> {
    let found: Vec<usize> = (1..command.len()).filter(|i| command[*i] == program).collect();
    if found.is_empty() {
        let program = program.display();
        return Err(Error::Usage(format!(
            "failed to find the program: {PROGRAM} is {program}, which is no word of the command; set it to one"
        )));
    }
    Ok(found)
}

fn not_understood(launcher: &OsStr, reason: NotUnderstood) -> Error {
    let what = format!("understand the command of {}", launcher.display());
    Error::cannot_run(what, reason, WAY_OUT)
}

/// Splits a text into words at blanks as a shell does, with quotes and backslashes; empty when a quote stays open.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchers::environment::Site;
    use crate::launchers::options::os;
    use crate::launchers::registry;
    use crate::launchers::testing::{SITE, environment, environment_at, words};

    fn plan_in(environment: &Environment, text: &str) -> Result<Option<StagingPlan>> {
        let hydra = registry::all().find(|l| l.settings_key() == Some("hydra")).unwrap();
        plan(&words(text), hydra, environment)
    }

    fn staged(environment: &Environment, text: &str) -> StagingPlan {
        plan_in(environment, text).unwrap().unwrap()
    }

    #[test]
    fn an_error_names_the_option_that_is_not_understood_and_the_way_out() {
        let error = plan_in(&environment(&[]), "mpiexec -odd 1 x").unwrap_err().to_string();
        assert!(error.contains("-odd") && error.contains("PYSHM_BCAST_LAUNCH"), "{error}");
    }

    #[test]
    fn a_command_that_is_not_understood_gets_step_and_program_from_the_user() {
        let environment = environment(&[
            ("PYSHM_BCAST_LAUNCH", "srun -n 4 --comment 'a b'"),
            ("PYSHM_PROGRAM", "python"),
        ]);
        let plan = staged(&environment, "mpiexec -odd 1 python a : -n 1 python b");
        assert_eq!(plan.programs, [3, 8]);
        assert_eq!(plan.step, ["srun", "-n", "4", "--comment", "a b"]);
        assert_eq!(plan.expected_nodes, None);
        assert!(is_told_by_user(&environment));
    }

    #[test]
    fn a_command_that_is_understood_needs_only_the_step_from_the_user() {
        let environment = environment(&[("PYSHM_BCAST_LAUNCH", "mpiexec -n 4")]);
        let plan = staged(&environment, "mpiexec -n 8 python a");
        assert_eq!((plan.programs, plan.ranks), (vec![3], Some(8)));
    }

    #[test]
    fn the_settings_add_words_to_the_step_of_their_launcher() {
        fn added_to(launcher: &'static str) -> Vec<OsString> {
            let step_options: fn(&str) -> Vec<OsString> = match launcher {
                "hydra" => {
                    |key| if key == "hydra" { os(["-iface", "ib0"]).to_vec() } else { vec![] }
                }
                _ => |key| if key == "srun" { os(["-iface", "ib0"]).to_vec() } else { vec![] },
            };
            let environment = environment_at(Site { step_options, ..SITE }, &[]);
            staged(&environment, "mpiexec -hosts n1,n2 -n 8 python a").step
        }
        assert!(added_to("hydra").ends_with(&os(["-iface", "ib0"])));
        assert!(!added_to("srun").contains(&"-iface".into()));
    }

    #[test]
    fn a_command_without_program_is_not_staged() {
        for launcher in registry::all().filter(|l| l.settings_key().is_some()) {
            let command = words("launcher --version");
            assert!(plan(&command, launcher, &environment(&[])).unwrap().is_none(), "{launcher:?}");
        }
    }

    #[test]
    fn the_installed_helper_decides_which_mpi_the_step_uses() {
        let mpi = |has_helper| {
            let slurm = registry::unknown();
            let site = Site { has_helper, ..SITE };
            let environment = environment_at(
                site,
                &[("PYSHM_BCAST_LAUNCH", "srun --mpi=pmix"), ("PYSHM_PROGRAM", "a")],
            );
            plan(&words("srun a"), slurm, &environment).unwrap().unwrap().mpi
        };
        assert_eq!(mpi(|_| true), Mpi::OpenMpi);
        assert_eq!(mpi(|_| false), Mpi::OpenMpi);
        assert_eq!(mpi(|mpi| mpi == Mpi::Mpich), Mpi::Mpich);
    }

    #[test]
    fn words_split_as_in_a_shell() {
        assert_eq!(split_words(r#"a 'b c' "d\"e" f\ g """#), ["a", "b c", "d\"e", "f g", ""]);
        assert!(split_words("a 'b").is_empty());
    }
}
