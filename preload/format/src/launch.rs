//! Decides which programs are launchers, which process is a rank, and which launches `pyshm-run` has already handled.
//! The shim and `pyshm-run` share this code, because both must come to the same decision when a launcher is preloaded.
//!
//! A **context** identifies the launch that a process belongs to, as a number made of the variables by which launchers
//! identify ranks. When `pyshm-run` starts a launcher, it puts the launcher's context into [`ENV_LAUNCHED`]. A process
//! that finds its own context in this variable is part of that launch: for example the `srun` by which Hydra starts its
//! daemons. A rank, or a launcher that a rank starts, has another context, so a separate decision is made for it.
//!
//! Invariant: no constant here holds pointers. In the shim each pointer would be a relocation at every start.

use crate::hash_path;

/// The variable with the launch that `pyshm-run` has handled, as [`mark`] writes it.
pub const ENV_LAUNCHED: &str = "PYSHM_LAUNCHED";
/// The variable with the bundles for ranks that each start their own `pyshm-run`. The launcher's `pyshm-run` sets the
/// variable for the `pyshm-run` of each rank.
pub const ENV_RANKS: &str = "PYSHM_RANKS";
/// The variable with the bundles, separated by colons, that are staged if the command line names none.
pub const ENV_BUNDLES: &str = "PYSHM_BUNDLES";

/// `pyshm-run`, relative to an installation.
pub const RUN: &str = "bin/pyshm-run";
/// First argument of a `pyshm-run` that takes a launcher's place. The launcher's file, its `argv[0]` and its arguments
/// follow.
pub const AS_LAUNCHER: &str = "--preloaded";
/// First argument of a `pyshm-run` that takes the place of a rank's first program.
pub const AS_RANK: &str = "--preloaded-rank";

/// Launchers, by their file names.
const LAUNCHERS: &[u8] =
    b"mpiexec mpirun mpiexec.hydra mpiexec.mpich mpirun.mpich mpiexec.openmpi mpirun.openmpi \
orterun prterun srun";

/// Daemons that launchers start on the nodes, some of them by `srun`, like ranks.
const DAEMONS: &[u8] = b"hydra_pmi_proxy hydra_bstrap_proxy pmi_proxy orted prted";

/// Variables of which every rank of some launcher has one. No process outside a step has any of them
/// (`src/launchers/registry/`).
const RANKS: &[u8] = b"SLURM_STEP_ID PMI_RANK PMIX_RANK OMPI_COMM_WORLD_RANK PALS_RANKID FLUX_TASK_RANK JSM_NAMESPACE_RANK";

/// Further variables that are part of a context, so that two ranks, two jobs and two launches in one job differ.
const CONTEXTS: &[u8] = b"SLURM_JOB_ID SLURM_PROCID PMIX_NAMESPACE PALS_APID FLUX_JOB_ID";

/// Beginning of the variable in Slurm's steps that run no ranks, such as the shell of salloc. They have the highest
/// numbers (`slurm/slurm.h`, SLURM_INTERACTIVE_STEP).
const SPECIAL_STEPS: &[u8] = b"SLURM_STEP_ID=42949672";

fn words(list: &'static [u8]) -> impl Iterator<Item = &'static [u8]> {
    list.split(|&b| b == b' ')
}

/// The first letters of a list's words as a bit set, made at compile time. The set rules out most texts by their first
/// letter. Two letters may share a bit. Then a text that the set does not rule out is compared with the words in vain.
#[derive(Clone, Copy)]
struct FirstLetters(u64);

impl FirstLetters {
    const fn of(list: &[u8]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < list.len() {
            if at == 0 || list[at - 1] == b' ' {
                bits |= Self::bit(list[at]);
            }
            at += 1;
        }
        Self(bits)
    }

    const fn bit(letter: u8) -> u64 {
        1 << (letter % 64)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a word of the list may begin as `text` does.
    fn may_begin(self, text: &[u8]) -> bool {
        text.first().is_some_and(|&letter| self.0 & Self::bit(letter) != 0)
    }
}

/// The launchers' file names.
pub fn launchers() -> impl Iterator<Item = &'static [u8]> {
    words(LAUNCHERS)
}

/// Whether a file of this name is a launcher.
#[must_use]
pub fn is_launcher(name: &[u8]) -> bool {
    // Every program calls this, and the first letter of its name rules nearly every program out.
    const LETTERS: FirstLetters = FirstLetters::of(LAUNCHERS);
    LETTERS.may_begin(name) && launchers().any(|l| l == name)
}

/// Whether `pyshm-run` must not take the place of a program of this name, because the program is a launcher's daemon or
/// one of pyshm's own programs.
#[must_use]
pub fn is_passed(name: &[u8]) -> bool {
    name.starts_with(b"pyshm") || words(DAEMONS).any(|d| d == name)
}

/// The names of the variables that show a rank.
pub fn rank_variables() -> impl Iterator<Item = &'static [u8]> {
    words(RANKS)
}

/// The launch that a process belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Context {
    /// The number that [`mark`] writes; 0 if no launcher's variable is set.
    pub number: u64,
    /// Whether the process is a rank.
    pub is_rank: bool,
}

impl Context {
    /// Adds one string of the environment, `NAME=VALUE`, to the context. The order of the strings does not matter.
    pub fn add(&mut self, text: &[u8]) {
        // This runs for every string of every program's environment, so the first letter is checked first.
        const LETTERS: FirstLetters = FirstLetters::of(RANKS).and(FirstLetters::of(CONTEXTS));
        if !LETTERS.may_begin(text) {
            return;
        }
        let Some(end) = text.iter().position(|&b| b == b'=') else { return };
        let name = text.get(..end).unwrap_or_default();
        let shows_rank = words(RANKS).any(|n| n == name);
        if shows_rank || words(CONTEXTS).any(|n| n == name) {
            self.number = self.number.wrapping_add(hash_path(text));
            self.is_rank |= shows_rank && !text.starts_with(SPECIAL_STEPS);
        }
    }
}

/// What happens to the ranks of a launch that `pyshm-run` has handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranks {
    /// The ranks run as `pyshm-run` started them.
    LeftAlone,
    /// Each rank gets its own `pyshm-run`, which stages for it.
    Stage,
}

/// The content of the variable [`ENV_LAUNCHED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launched {
    /// The launcher's own context.
    pub context: u64,
    /// What happens to the launcher's ranks.
    pub ranks: Ranks,
}

/// Makes the value of [`ENV_LAUNCHED`]: the context in 16 hexadecimal digits, then `r` for [`Ranks::Stage`] or `-` for
/// [`Ranks::LeftAlone`].
#[must_use]
pub fn mark(launched: Launched) -> [u8; 17] {
    let mut text = [b' '; 17];
    for (i, digit) in text.iter_mut().take(16).enumerate() {
        let value = (launched.context >> (60 - 4 * i)) as u8 & 15;
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
    }
    if let Some(last) = text.last_mut() {
        *last = match launched.ranks {
            Ranks::LeftAlone => b'-',
            Ranks::Stage => b'r',
        };
    }
    text
}

/// Reads a value that [`mark`] has written. `None` for any other text.
#[must_use]
pub fn read_mark(text: &[u8]) -> Option<Launched> {
    let (digits, last) = text.split_first_chunk::<16>()?;
    let mut context = 0;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        context = context << 4 | u64::from(value);
    }
    match last {
        b"r" => Some(Launched { context, ranks: Ranks::Stage }),
        b"-" => Some(Launched { context, ranks: Ranks::LeftAlone }),
        _ => None,
    }
}

/// What [`ENV_BUNDLES`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bundles {
    /// The variable names no bundle.
    None,
    /// The variable names bundles.
    Named,
}

/// The role of a process that has no stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The program runs as without pyshm.
    None,
    /// `pyshm-run` takes this launcher's place and decides whether to stage.
    Launcher,
    /// `pyshm-run` takes the place of this rank's first program and stages for it.
    Rank,
}

/// The role of a program with the file name `name`. `launched` is the content of [`ENV_LAUNCHED`], and `bundles` says
/// whether [`ENV_BUNDLES`] names any.
#[must_use]
pub fn role(name: &[u8], context: Context, launched: Option<Launched>, bundles: Bundles) -> Role {
    if is_passed(name) || launched.is_some_and(|l| l.context == context.number) {
        return Role::None;
    }
    if is_launcher(name) {
        return Role::Launcher;
    }
    // A rank without [`ENV_LAUNCHED`] was started by an unknown launcher.
    let stages = launched.map_or(bundles == Bundles::Named, |l| l.ranks == Ranks::Stage);
    if context.is_rank && stages { Role::Rank } else { Role::None }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn context(variables: &[&str]) -> Context {
        let mut context = Context::default();
        variables.iter().for_each(|v| context.add(v.as_bytes()));
        context
    }

    const SCRIPT: [&str; 3] = ["HOME=/", "SLURM_JOB_ID=7", "SLURM_PROCID=0"];
    const RANK: [&str; 3] = ["SLURM_PROCID=3", "SLURM_STEP_ID=1", "SLURM_JOB_ID=7"];

    #[test]
    fn every_listed_launcher_and_variable_is_recognised() {
        assert!(launchers().all(is_launcher));
        for variable in rank_variables().chain(words(CONTEXTS)) {
            let mut context = Context::default();
            context.add(&[variable, b"=1"].concat());
            assert_ne!(context.number, 0);
        }
    }

    #[test]
    fn a_launcher_is_recognised_by_its_whole_name() {
        assert!(is_launcher(b"srun") && is_launcher(b"mpiexec.hydra") && is_launcher(b"prterun"));
        assert!(!is_launcher(b"sru") && !is_launcher(b"srun2") && !is_launcher(b""));
        assert!(!is_launcher(b"sbatch") && !is_launcher(b"salloc") && !is_launcher(b"mpirun srun"));
        assert!(is_passed(b"orted") && is_passed(b"pyshm-exec") && !is_passed(b"python"));
    }

    #[test]
    fn a_batch_script_is_no_rank_and_a_task_of_a_step_is() {
        assert!(!context(&SCRIPT).is_rank);
        assert!(context(&RANK).is_rank);
        assert_eq!(context(&["PATH=/bin", "SLURM=1", "PMI_RANKS=2"]), Context::default());
        assert!(!context(&["SLURM_JOB_ID=7", "SLURM_STEP_ID=4294967290"]).is_rank);
        assert!(context(&["PMI_RANK=0"]).is_rank && context(&["OMPI_COMM_WORLD_RANK=1"]).is_rank);
    }

    #[test]
    fn a_context_does_not_depend_on_the_order_of_variables() {
        let mut other = RANK;
        other.reverse();
        assert_eq!(context(&RANK), context(&other));
        assert_ne!(context(&RANK).number, context(&SCRIPT).number);
        assert_ne!(context(&["PMI_RANK=0"]).number, context(&["PMI_RANK=1"]).number);
    }

    #[test]
    fn a_mark_is_read_back_as_written() {
        for context in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            for ranks in [Ranks::LeftAlone, Ranks::Stage] {
                let launched = Launched { context, ranks };
                assert_eq!(read_mark(&mark(launched)), Some(launched));
            }
        }
        for text in
            [&b""[..], b"1", b"0123456789abcdef", b"0123456789abcdeX-", b"0123456789abcdefrr"]
        {
            assert_eq!(read_mark(text), None);
        }
    }

    #[test]
    fn a_handled_launch_has_no_role_and_a_new_launch_has_one() {
        let (script, rank) = (context(&SCRIPT), context(&RANK));
        let of = |context: Context, ranks| Some(Launched { context: context.number, ranks });
        assert_eq!(role(b"srun", script, None, Bundles::None), Role::Launcher);
        // The real launcher, and a program that it starts.
        assert_eq!(role(b"srun", script, of(script, Ranks::LeftAlone), Bundles::Named), Role::None);
        assert_eq!(role(b"ssh", script, of(script, Ranks::Stage), Bundles::Named), Role::None);
        // A rank of that launcher, and a launcher in a rank.
        assert_eq!(role(b"python", rank, of(script, Ranks::LeftAlone), Bundles::Named), Role::None);
        assert_eq!(role(b"python", rank, of(script, Ranks::Stage), Bundles::None), Role::Rank);
        assert_eq!(
            role(b"mpiexec", rank, of(script, Ranks::LeftAlone), Bundles::Named),
            Role::Launcher
        );
        // A program that the rank's pyshm-run has started.
        assert_eq!(role(b"python", rank, of(rank, Ranks::LeftAlone), Bundles::Named), Role::None);
        // Daemons that srun starts are no ranks.
        assert_eq!(role(b"orted", rank, of(script, Ranks::Stage), Bundles::Named), Role::None);
    }

    #[test]
    fn ranks_of_an_unknown_launcher_stage_the_bundles_of_the_variable() {
        let rank = context(&["FLUX_TASK_RANK=0", "FLUX_JOB_ID=1"]);
        assert_eq!(role(b"python", rank, None, Bundles::Named), Role::Rank);
        assert_eq!(role(b"python", rank, None, Bundles::None), Role::None);
        assert_eq!(role(b"python", context(&SCRIPT), None, Bundles::Named), Role::None);
        assert_eq!(role(b"pyshm-run", rank, None, Bundles::Named), Role::None);
    }
}
