//! Sets the variables that inform the commands of `pyshm-run` about pyshm.
//!
//! The environment of a launcher says that pyshm takes care of its launch, or that its ranks stage for themselves. A
//! preloaded shim reads that ([`pyshm_format::launch`]). The environment of the staging step has nothing that is meant
//! for the application's processes.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Command;

use pyshm_format::launch::{self, Context, Launched, Ranks};

use crate::bundle::Named;
use crate::launchers::registry;

const PRELOAD: &str = "LD_PRELOAD";
const SHIM: &str = "libpyshm.so";

/// Variables by which pyshm reaches the application's processes.
const FOR_APPLICATION: [&str; 6] = [
    PRELOAD,
    "PYSHM_STAGE",
    "PYSHM_LD_PRELOAD",
    "PYSHM_LD_LIBRARY_PATH",
    launch::ENV_LAUNCHED,
    launch::ENV_RANKS,
];

/// Returns the launch to which this process belongs.
#[must_use]
pub fn context() -> Context {
    let mut context = Context::default();
    for (name, value) in std::env::vars_os() {
        context.add(&[name.as_bytes(), b"=", value.as_bytes()].concat());
    }
    context
}

/// Tells a preloaded shim to leave `command` and its ranks alone, because pyshm takes care of them.
pub fn leave_alone(command: &mut Command) {
    mark(command, Ranks::LeftAlone);
    command.env_remove(launch::ENV_RANKS);
}

/// Tells the shim to leave `command` alone, if the shim is preloaded into the processes that this process starts.
pub fn leave_alone_if_preloaded(command: &mut Command) {
    if is_preloaded() {
        leave_alone(command);
    }
}

/// Whether the shim is preloaded into the processes that this process starts.
#[must_use]
pub fn is_preloaded() -> bool {
    std::env::var_os(PRELOAD).is_some_and(|list| without_shim_in(&list).is_some())
}

/// Makes the ranks of the launcher `command` stage `bundles`, if the launcher passes its environment on to the ranks.
pub fn let_ranks_stage(command: &mut Command, bundles: &[Named]) {
    // JSON is UTF-8: a bundle whose path is not UTF-8 is not staged.
    let Ok(text) = serde_json::to_string(bundles) else { return leave_alone(command) };
    mark(command, Ranks::Stage);
    command.env(launch::ENV_RANKS, text);
}

fn mark(command: &mut Command, ranks: Ranks) {
    let mark = launch::mark(Launched { context: context().number, ranks });
    command.env(launch::ENV_LAUNCHED, OsStr::from_bytes(&mark));
}

/// Returns the bundles that this rank is to stage, which [`let_ranks_stage`] has put into the launcher's environment.
#[must_use]
pub fn bundles_of_ranks() -> Option<Vec<Named>> {
    serde_json::from_str(std::env::var(launch::ENV_RANKS).ok()?.as_str()).ok()
}

/// Removes the shim from the `LD_PRELOAD` of `command`. The ranks of `command` get the staged shim from the trampoline,
/// or no shim if nothing could be staged. So no process has to read the installed shim.
pub fn without_shim(command: &mut Command) {
    command.env_remove(launch::ENV_LAUNCHED).env_remove(launch::ENV_RANKS);
    let Some(list) = std::env::var_os(PRELOAD) else { return };
    let Some(rest) = without_shim_in(&list) else { return };
    // A launcher that is told to pass LD_PRELOAD on complains if LD_PRELOAD is not set.
    let is_named = command.get_args().any(|word| {
        word.as_bytes().split(|b| b",=".contains(b)).any(|part| part == PRELOAD.as_bytes())
    });
    if rest.is_empty() && !is_named {
        command.env_remove(PRELOAD);
    } else {
        command.env(PRELOAD, rest);
    }
}

/// Returns the elements of `LD_PRELOAD` that are not the shim; `None` if the shim is not among them.
fn without_shim_in(list: &OsStr) -> Option<OsString> {
    let elements = || list.as_bytes().split(|b| b": ".contains(b)).filter(|e| !e.is_empty());
    let is_shim = |e: &[u8]| Path::new(OsStr::from_bytes(e)).file_name() == Some(OsStr::new(SHIM));
    elements().any(is_shim).then(|| {
        let rest: Vec<&[u8]> = elements().filter(|e| !is_shim(e)).collect();
        OsString::from_vec(rest.join(&b':'))
    })
}

/// Gives the staging step `command` this process's environment. Variables that shape the application's launch are
/// removed; variables that a launcher needs to start the step beside the application are added.
pub fn for_step(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_kept_from_step(name)) {
        command.env_remove(name);
    }
    registry::all().for_each(|launcher| launcher.prepare_step(command));
}

fn is_kept_from_step(name: &OsStr) -> bool {
    FOR_APPLICATION.iter().any(|ours| name == *ours)
        || registry::all().any(|launcher| launcher.shapes_step(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shim_is_removed_from_ld_preload() {
        let rest = |list: &str| without_shim_in(OsStr::new(list));
        assert_eq!(rest("/opt/pyshm/$LIB/libpyshm.so"), Some("".into()));
        assert_eq!(rest("/a.so:/x/libpyshm.so b.so"), Some("/a.so:b.so".into()));
        assert_eq!(rest("/a.so:/x/notlibpyshm.so"), None);
        assert_eq!(rest(""), None);
    }

    #[test]
    fn ranks_read_the_bundles_that_their_launcher_was_told() {
        let bundles = vec![Named { path: "/a b".into(), prefix: Some("/p".into()), layer: true }];
        let mut command = Command::new("srun");
        let_ranks_stage(&mut command, &bundles);
        let value = |name: &str| {
            let found = command.get_envs().find(|(n, _)| *n == name);
            found.and_then(|(_, value)| Some(value?.to_str()?.to_string())).unwrap()
        };
        let read: Vec<Named> = serde_json::from_str(&value(launch::ENV_RANKS)).unwrap();
        assert_eq!(read, bundles);
        let mark = launch::read_mark(value(launch::ENV_LAUNCHED).as_bytes()).unwrap();
        assert_eq!(mark, Launched { context: context().number, ranks: Ranks::Stage });
    }

    #[test]
    fn the_staging_step_gets_nothing_that_is_meant_for_the_application() {
        for name in ["LD_PRELOAD", "PYSHM_LAUNCHED", "PYSHM_RANKS", "SLURM_NTASKS"] {
            assert!(is_kept_from_step(OsStr::new(name)), "{name}");
        }
        for name in ["LD_LIBRARY_PATH", "PYSHM_RESERVE", "SLURM_JOB_ID"] {
            assert!(!is_kept_from_step(OsStr::new(name)), "{name}");
        }
    }
}
