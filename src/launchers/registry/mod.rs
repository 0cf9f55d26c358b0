//! Lists every launcher that pyshm knows. Each launcher has a file of its own.
//!
//! To add a launcher, write its file, declare the file's module here, and add a line to [`REGISTRY`]. The shim has its
//! own list of names (`preload/format/src/launch.rs`). Tests fail if a name of the registry is missing in that list.
#![forbid(unsafe_code)]

mod flux;
mod hydra;
mod jsrun;
mod openmpi;
mod pals;
mod pmix;
mod slurm;

use crate::launchers::launcher::Launcher;

/// The launchers. If a rank has variables of several launchers, as under Hydra in an allocation of Slurm, the first of
/// these launchers in this list names the launch.
static REGISTRY: &[&dyn Launcher] = &[
    &slurm::SLURM,
    &pmix::Pmix,
    &openmpi::OpenMpi,
    &hydra::Hydra,
    &pals::Pals,
    &flux::Flux,
    &jsrun::Jsrun,
];

/// The launchers of the registry.
pub fn all() -> impl Iterator<Item = &'static dyn Launcher> {
    REGISTRY.iter().copied()
}

/// Returns the launcher that stands for an unknown launcher if the user gives the command of the staging step. The
/// launcher that is returned starts programs of any MPI.
#[must_use]
pub fn unknown() -> &'static dyn Launcher {
    &slurm::SLURM
}

/// Returns the file names of all launchers. A name that several launchers have appears several times.
pub fn file_names() -> impl Iterator<Item = &'static str> {
    all().flat_map(Launcher::file_names).copied()
}

/// The keys of launchers in the settings.
pub fn settings_keys() -> impl Iterator<Item = &'static str> {
    all().filter_map(Launcher::settings_key)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use pyshm_format::launch;
    use pyshm_format::launch::{Bundles, Context, Role};

    use super::*;

    fn sorted<'a>(names: impl Iterator<Item = &'a [u8]>) -> BTreeSet<String> {
        names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn the_shim_recognises_every_launcher_and_no_other() {
        assert_eq!(sorted(file_names().map(str::as_bytes)), sorted(launch::launchers()));
        for name in file_names() {
            let role = launch::role(name.as_bytes(), Context::default(), None, Bundles::None);
            assert_eq!(role, Role::Launcher, "{name} is in the shim's list and passes its filter");
        }
    }

    #[test]
    fn the_shim_recognises_the_ranks_of_every_launcher_and_no_others() {
        let ranks = || all().map(|launcher| launcher.ranks().rank);
        assert_eq!(sorted(ranks().map(str::as_bytes)), sorted(launch::rank_variables()));
        for name in ranks() {
            let mut context = Context::default();
            context.add(format!("{name}=0").as_bytes());
            assert!(context.is_rank, "{name} is in the shim's list and passes its filter");
        }
    }

    #[test]
    fn a_settings_key_belongs_to_one_launcher() {
        let keys: Vec<_> = settings_keys().collect();
        assert_eq!(keys.len(), keys.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn a_launcher_with_file_names_can_be_told_apart_by_what_it_prints() {
        let printed = BTreeMap::from([
            ("Hydra", "HYDRA build details:\n    Version: 5.0.2\n"),
            ("Open MPI", "mpirun (Open MPI) 4.1.4\n"),
            ("Slurm", "slurm 22.05.8\n"),
        ]);
        for launcher in all().filter(|launcher| !launcher.file_names().is_empty()) {
            for (name, text) in &printed {
                let is_own = *name == launcher.name();
                assert_eq!(launcher.is_told_by_version(text), is_own, "{launcher:?}: {text}");
            }
        }
    }
}
