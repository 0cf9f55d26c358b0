//! Selects the bundles that a job stages: the bundles that the user names, or those of the bundles configured for all
//! jobs that the command uses, or the cached bundles of the Python environment in which the program runs.
#![forbid(unsafe_code)]

pub mod command_usage;
pub mod configured;
pub mod coverage;
pub mod interests;
pub mod worthwhile;

use std::path::PathBuf;

use crate::bundle::Named;
use crate::cache;
use crate::cache::UseMark;
use crate::error::{Error, Result};
use crate::program::lookup;
use crate::program::python::Python;
use crate::progress::Progress;
use crate::protocol::request::{Otherwise, Request, Selection};
use crate::run::select::configured::NoneUsed;
use crate::stage::StageId;

/// The result of a selection.
#[derive(Debug)]
pub enum Selected {
    /// These bundles are staged.
    Bundles(Box<Bundles>),
    /// Nothing is staged. This is not an error.
    Nothing {
        /// The reason.
        reason: String,
    },
}

impl Selected {
    fn bundles(bundles: Bundles) -> Self {
        Self::Bundles(Box::new(bundles))
    }

    fn nothing(reason: impl Into<String>) -> Self {
        Self::Nothing { reason: reason.into() }
    }
}

/// The bundles to stage.
#[derive(Debug)]
pub struct Bundles {
    /// The name of the bundles' stage.
    pub id: StageId,
    /// The bundles, in the order in which they are laid over each other.
    pub named: Vec<Named>,
    /// A bundle is staged only if it covers one of these paths; `None` if all bundles are staged.
    pub interests: Option<Vec<PathBuf>>,
    /// Whether the bundles were compared with their prefixes just now.
    pub fresh: bool,
    /// Marks of use, which keep bundles in the cache while they are read.
    pub uses: Vec<UseMark>,
    /// Warnings about the bundles for the user.
    pub warnings: Vec<String>,
}

/// Selects the bundles that `request` asks for. `say` gets a message about each thing that is done.
///
/// # Errors
/// The errors of opening a named bundle, of asking the interpreter, and of the cache.
pub fn select(request: &Request, say: &dyn Fn(&str)) -> Result<Selected> {
    let automatic = || automatic(request, say);
    let (configured, otherwise) = match &request.selection {
        Selection::Automatic => return automatic(),
        Selection::Named(named) => return explicit(named, request).map(Selected::bundles),
        Selection::Decided(named) => {
            let bundles = explicit(named, request)?;
            return Ok(Selected::bundles(Bundles { interests: None, ..bundles }));
        }
        Selection::Configured(configured, otherwise) => (configured, *otherwise),
    };
    match (configured::used_by(configured, &request.command, &request.programs), otherwise) {
        (Ok(used), _) => Ok(Selected::bundles(Bundles {
            id: stage_id(&used.bundles, &used.interests)?,
            named: used.bundles,
            interests: Some(used.interests),
            fresh: false,
            uses: Vec::new(),
            warnings: used.unreadable,
        })),
        // The command uses the user's own environment, which no configured bundle covers.
        (Err(NoneUsed::NotCovered(_)), Otherwise::Automatic) => automatic(),
        (Err(NoneUsed::Unreadable(error)), Otherwise::Nothing) => Err(error.into()),
        // The bundle that cannot be read may have covered this environment.
        (Err(NoneUsed::Unreadable(error)), Otherwise::Automatic) => match automatic()? {
            Selected::Bundles(mut bundles) => {
                bundles.warnings.push(error.message);
                Ok(Selected::Bundles(bundles))
            }
            Selected::Nothing { .. } => Err(error.into()),
        },
        (Err(why), _) => Ok(Selected::nothing(why.to_string())),
    }
}

/// Returns the named bundles, with the paths that the job uses as interests.
fn explicit(named: &[Named], request: &Request) -> Result<Bundles> {
    let path = |p: &PathBuf| std::path::absolute(p).map_err(Error::read("bundle", p));
    let absolute = |named: &Named| -> Result<Named> {
        let prefix = named.prefix.as_ref().map(path).transpose()?;
        Ok(Named { path: path(&named.path)?, prefix, layer: named.layer })
    };
    let named = named.iter().map(absolute).collect::<Result<Vec<_>>>()?;
    let interests = interests::of(&programs(request));
    let id = stage_id(&named, &interests)?;
    let (uses, warnings) = (Vec::new(), Vec::new());
    Ok(Bundles { id, named, interests: Some(interests), fresh: false, uses, warnings })
}

/// Lists the programs of the command that are found on this node.
fn programs(request: &Request) -> Vec<PathBuf> {
    request.program_names().filter_map(|name| lookup::find(name).ok()).collect()
}

/// Computes the stage's name. If there are several bundles, the interests decide which of them are staged, so the name
/// depends on the interests too.
fn stage_id(bundles: &[Named], interests: &[PathBuf]) -> Result<StageId> {
    let id = StageId::of_bundles(bundles)?;
    if bundles.len() < 2 {
        return Ok(id);
    }
    let mut hash = blake3::Hasher::new();
    hash.update(id.as_str().as_bytes());
    for path in interests {
        hash.update(path.as_os_str().as_encoded_bytes()).update(&[0]);
    }
    StageId::parse(&hash.finalize().to_hex()[..16])
}

/// Makes or updates the cached bundles of the environment in which the first program runs. Selects them if staging is
/// worthwhile.
fn automatic(request: &Request, say: &dyn Fn(&str)) -> Result<Selected> {
    let programs = programs(request);
    let Some(interpreter) = lookup::interpreter(programs.first().map(PathBuf::as_path)) else {
        return Ok(Selected::nothing("no Python interpreter is on PATH"));
    };
    let python = Python::ask(&interpreter)?;
    let prefixes = python.bundled();
    if prefixes.is_empty() {
        let names: Vec<_> = python.prefixes.iter().map(|p| p.display().to_string()).collect();
        return Ok(Selected::nothing(format!(
            "{} is never bundled automatically; name a bundle with -b",
            names.join(", ")
        )));
    }
    let (mut named, mut uses, mut unpacked) = (Vec::new(), Vec::new(), 0);
    for prefix in prefixes {
        let cached = cache::ensure(&prefix, Progress::Shown, say)?;
        unpacked += cached.manifest.unpacked_bytes();
        named.push(Named::file(&cached.bundle));
        uses.push(cached.using);
    }
    if let Some(why) = worthwhile::why_not(unpacked, worthwhile::serial_read(), request.ranks) {
        return Ok(Selected::nothing(why));
    }
    let id = StageId::of_bundles(&named)?;
    let warnings = Vec::new();
    Ok(Selected::bundles(Bundles { id, named, interests: None, fresh: true, uses, warnings }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_name_of_several_bundles_depends_on_the_interests() {
        let dir = tempfile::tempdir().unwrap();
        let bundles: Vec<Named> =
            ["a", "b"].iter().map(|n| Named::file(&dir.path().join(n))).collect();
        bundles.iter().for_each(|b| std::fs::write(&b.path, "x").unwrap());
        let (x, y) = ([PathBuf::from("/x")], [PathBuf::from("/y")]);
        assert_ne!(stage_id(&bundles, &x).unwrap(), stage_id(&bundles, &y).unwrap());
        assert_eq!(stage_id(&bundles[..1], &x).unwrap(), stage_id(&bundles[..1], &y).unwrap());
    }
}
