//! Parses the options that name bundles on a command line: `-b FILE`, and for a foreign tar `--prefix DIR` after it,
//! which says where the members belong.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use serde::{Deserialize, Serialize};

/// A bundle as the user names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Named {
    /// The file.
    pub path: PathBuf,
    /// The prefix of a foreign tar, since the tar does not name its prefix.
    pub prefix: Option<PathBuf>,
    /// Whether the tar holds only what changed since the bundles before it.
    #[serde(default)]
    pub layer: bool,
}

impl Named {
    /// Names a bundle that pyshm made.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self { path: path.to_path_buf(), ..Self::default() }
    }
}

/// The options `-b`, `--prefix` and `--layer`, each any number of times.
#[derive(Debug, Clone, Default)]
pub struct NamedBundles(pub Vec<Named>);

const BUNDLE: &str = "bundle";
const PREFIX: &str = "prefix";
const LAYER: &str = "layer";

impl Args for NamedBundles {
    fn augment_args(command: Command) -> Command {
        let path = || Arg::new("").value_parser(value_parser!(PathBuf)).action(ArgAction::Append);
        let bundle = path().id(BUNDLE).short('b').long(BUNDLE).value_name("FILE");
        let prefix = path().id(PREFIX).long(PREFIX).value_name("DIR").requires(BUNDLE);
        // clap reports the places of values on the command line, but not those of flags. So `--layer` is an option
        // whose value is implied.
        let layer = Arg::new(LAYER).long(LAYER).action(ArgAction::Append).requires(BUNDLE);
        let layer =
            layer.num_args(0).default_missing_value("true").value_parser(value_parser!(bool));
        command
            .arg(bundle.help(
                "A bundle, or with --prefix any tar, plain or compressed by gzip or zstd; may be given several times",
            ))
            .arg(prefix.help(
                "For a tar that pyshm did not make, named by the -b before this option: the directory in which the \
                 tar's members belong, which is the directory that was packed, or the one given to \
                 'conda-pack --dest-prefix'",
            ))
            .arg(layer.help(
                "The tar named by the -b before this option holds only what changed since the bundles before that tar, \
                 and a file '.wh.NAME' for each removed NAME, like the layers of container images",
            ))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for NamedBundles {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let all = |id: &str| -> Vec<(usize, PathBuf)> {
            let values = matches.get_many::<PathBuf>(id).into_iter().flatten().cloned();
            matches.indices_of(id).into_iter().flatten().zip(values).collect()
        };
        let misplaced = |option: &str| {
            let text = format!(
                "{option} belongs to no bundle: write {option} after the bundle's -b FILE\n"
            );
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, text)
        };
        let mut named: Vec<(usize, Named)> =
            all(BUNDLE).into_iter().map(|(at, path)| (at, Named::file(&path))).collect();
        for (at, prefix) in all(PREFIX) {
            match bundle_before(&mut named, at).filter(|bundle| bundle.prefix.is_none()) {
                Some(bundle) => bundle.prefix = Some(prefix),
                None => return Err(misplaced(&format!("--prefix {}", prefix.display()))),
            }
        }
        for at in matches.indices_of(LAYER).into_iter().flatten() {
            let bundle = bundle_before(&mut named, at);
            bundle.ok_or_else(|| misplaced("--layer"))?.layer = true;
        }
        Ok(Self(named.into_iter().map(|(_, bundle)| bundle).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Finds the bundle that precedes place `at` on the command line.
fn bundle_before(named: &mut [(usize, Named)], at: usize) -> Option<&mut Named> {
    let found = named.iter_mut().rev().find(|(bundle, _)| *bundle < at);
    found.map(|(_, bundle)| bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Vec<Named>, clap::Error> {
        let command = NamedBundles::augment_args(Command::new("x"));
        let matches = command.try_get_matches_from([&["x"], words].concat())?;
        NamedBundles::from_arg_matches(&matches).map(|named| named.0)
    }

    #[test]
    fn a_prefix_belongs_to_the_bundle_before_it() {
        let named =
            parse(&["-b", "a", "-b", "b", "--prefix", "/p", "-b", "c", "--prefix=/q"]).unwrap();
        let shown: Vec<_> =
            named.iter().map(|n| n.prefix.as_deref().map(Path::to_path_buf)).collect();
        assert_eq!(shown, [None, Some("/p".into()), Some("/q".into())]);
        let named =
            parse(&["-b", "a", "-b", "b", "--layer", "-b", "c", "--prefix", "/p", "--layer"]);
        assert_eq!(named.unwrap().iter().map(|n| n.layer).collect::<Vec<_>>(), [false, true, true]);
        assert!(parse(&["--layer", "-b", "a"]).is_err());
        assert!(parse(&["--prefix", "/p", "-b", "a"]).is_err());
        assert!(parse(&["-b", "a", "--prefix", "/p", "--prefix", "/q"]).is_err());
        assert!(parse(&["--prefix", "/p"]).is_err());
    }
}
