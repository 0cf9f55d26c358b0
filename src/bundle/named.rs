//! How a bundle is named on a command line: `-b FILE`, and for an archive that pyshm did not make `--prefix DIR`
//! behind it, which says where its members belong.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use serde::{Deserialize, Serialize};

/// A file, and the prefix that it stands for if it does not say so itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Named {
    /// The file.
    pub path: PathBuf,
    /// The prefix.
    pub prefix: Option<PathBuf>,
    /// It only says what changed since the bundles before it.
    #[serde(default)]
    pub layer: bool,
}

impl Named {
    /// A bundle of ours.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self { path: path.to_path_buf(), ..Self::default() }
    }
}

/// The options `-b` and `--prefix`, each as often as wanted.
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
        // Not a plain flag, whose places on the line are not known.
        let layer = Arg::new(LAYER).long(LAYER).action(ArgAction::Append).requires(BUNDLE);
        let layer =
            layer.num_args(0).default_missing_value("true").value_parser(value_parser!(bool));
        command
            .arg(bundle.help(
                "A bundle, or any tar, plain or compressed by gzip or zstd (then with --prefix); may be given several times",
            ))
            .arg(prefix.help(
                "Where the members of the tar of the -b before belong, if pyshm did not make it: what it was packed from, \
                 or what 'conda-pack --dest-prefix' was told",
            ))
            .arg(layer.help(
                "The tar of the -b before only holds what changed since the bundles before it, and '.wh.NAME' for what is \
                 gone, as the layers of container images",
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
        let mut named: Vec<(usize, Named)> =
            all(BUNDLE).into_iter().map(|(at, path)| (at, Named::file(&path))).collect();
        for (at, prefix) in all(PREFIX) {
            let before = named.iter_mut().rev().find(|(bundle, _)| *bundle < at);
            match before {
                Some((_, bundle)) if bundle.prefix.is_none() => bundle.prefix = Some(prefix),
                _ => {
                    let text = format!(
                        "--prefix {} belongs to no bundle: write it behind its -b FILE\n",
                        prefix.display()
                    );
                    return Err(clap::Error::raw(clap::error::ErrorKind::ValueValidation, text));
                }
            }
        }
        for at in matches.indices_of(LAYER).into_iter().flatten() {
            match named.iter_mut().rev().find(|(bundle, _)| *bundle < at) {
                Some((_, bundle)) => bundle.layer = true,
                None => {
                    let text = "--layer belongs to no bundle: write it behind its -b FILE\n";
                    return Err(clap::Error::raw(clap::error::ErrorKind::ValueValidation, text));
                }
            }
        }
        Ok(Self(named.into_iter().map(|(_, bundle)| bundle).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
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
