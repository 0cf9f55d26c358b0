//! Examines the bundles that jobs stage: whether the bundles can be read, and whether their prefixes have not changed
//! since packing.
#![forbid(unsafe_code)]

use std::io::ErrorKind;

use crate::bundle::Size;
use crate::bundle::{Content, Named, Reader};
use crate::doctor::Finding;
use crate::error::Error;
use crate::manifest::Stack;

/// Examines bundles, each laid over those before it. Returns the findings and the space that the bundles take in a
/// stage. Prefixes are compared by the `lstat` of each path; no data is read.
#[must_use]
pub fn examine(bundles: &[Named]) -> (Vec<Finding>, Size) {
    if bundles.is_empty() {
        let cause =
            "none is named: pyshm-run packs the program's environment into a bundle in the cache";
        let advice = "to choose others, name them with -b, PYSHM_BUNDLES or in pyshm.toml";
        return (vec![Finding::note("bundles", cause, advice)], Size::default());
    }
    let (mut findings, mut size, mut stack) = (Vec::new(), Vec::new(), Stack::default());
    for named in bundles {
        let what = named.path.display().to_string();
        let reader = match Reader::open(named) {
            Ok(reader) => reader,
            Err(error) => {
                let advice = match &error {
                    Error::NoInput { cause, .. } if cause.kind() == ErrorKind::PermissionDenied => {
                        "ask its owner for permission to read it (chmod a+r)"
                    }
                    Error::NoInput { .. } => "make it with 'pyshm bundle env', or correct the name",
                    _ => "make it again with 'pyshm bundle env'",
                };
                findings.push(Finding::failure(&what, &error.to_string(), advice));
                continue;
            }
        };
        size.push(reader.size());
        match reader.content() {
            Content::Archive(_) => {
                let cause = "it can be read; it was not compared with its prefix";
                findings.push(Finding::note(
                    &what,
                    cause,
                    "compare them with 'pyshm verify -b FILE --prefix DIR'",
                ));
            }
            Content::Bundle(manifest) => {
                let entries = manifest.entries.len();
                match stack.lay(manifest.clone()) {
                    Ok(()) => findings
                        .push(Finding::ok(&what, &format!("it can be read, {entries} paths"))),
                    Err(why) => {
                        let advice = "name each bundle before those that lie over it";
                        findings.push(Finding::failure(&what, &why.to_string(), advice));
                    }
                }
            }
        }
    }
    if stack.entries().next().is_some() {
        findings.push(freshness(&stack));
    }
    (findings, size.into_iter().sum())
}

/// Compares the prefixes of bundles with their recorded `lstat`s.
fn freshness(stack: &Stack) -> Finding {
    let what = "bundles";
    match stack.first_change() {
        Ok(None) => Finding::ok(what, "their prefixes are as they were packed"),
        Ok(Some(path)) => {
            let cause =
                format!("{} is not as it was packed: jobs see what was packed", path.display());
            Finding::warning(
                what,
                &cause,
                "pack it again, or pack a layer with 'pyshm bundle env --over'",
            )
        }
        Err(error) => {
            let advice = "make sure that the environment is where it was when it was packed";
            Finding::failure(what, &error.to_string(), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::bundle::{PackOptions, PrefixSpec, pack};
    use crate::doctor::Level;
    use crate::manifest::prefix::Mode;
    use crate::progress::Progress;

    fn packed(dir: &Path) -> Named {
        let prefix = dir.join("env");
        fs::create_dir(&prefix).unwrap();
        fs::write(prefix.join("a"), "a").unwrap();
        let spec = PrefixSpec { path: prefix, mode: Mode::Snapshot };
        let bundle = dir.join("b.tar.zst");
        pack(&[spec], &bundle, &PackOptions { level: None, progress: Progress::Hidden }).unwrap();
        Named::file(&bundle)
    }

    fn worst(bundles: &[Named]) -> Level {
        examine(bundles).0.iter().map(|finding| finding.level).max().unwrap()
    }

    #[test]
    fn a_bundle_is_fresh_until_something_in_its_prefix_changes() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = packed(dir.path());
        assert_eq!(worst(std::slice::from_ref(&bundle)), Level::Ok);
        assert_eq!(examine(std::slice::from_ref(&bundle)).1.entries, 2);
        fs::write(dir.path().join("env/new"), "").unwrap();
        assert_eq!(worst(&[bundle]), Level::Warning);
    }

    #[test]
    fn a_bundle_that_is_missing_or_cut_is_a_failure_and_the_others_are_still_examined() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = packed(dir.path());
        let missing = Named::file(Path::new("/no/such.tar.zst"));
        let (found, size) = examine(&[missing, bundle.clone()]);
        assert_eq!((found[0].level, size.entries), (Level::Failure, 2));
        let bytes = fs::read(&bundle.path).unwrap();
        fs::write(&bundle.path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(worst(&[bundle]), Level::Failure);
    }
}
