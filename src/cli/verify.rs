//! Implements `pyshm verify`, which compares bundles, a stage and the tree that was bundled.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::bundle::NamedBundles;
use crate::cli::json::print_json;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::settings;
use crate::stage::{Stage, StageId, UserDir};
use crate::verify::{Difference, View, compare, of_bundles, of_source, of_stage, own_problems};

const AFTER_HELP: &str = "\
Several bundles are compared as one, each laid over those before it as in a stage; a layer needs the bundles below it.

If only a bundle is named, it is read whole, and compared with its own manifest and with the tree that it was made from. pyshm verify \
compares type, mode, owner, link target, time of modification, size, and blake3 of the data of every file. It leaves out \
data that a side does not hold, and facts that a tar does not record. Each line that it prints is one difference: the path, \
what differs, and how.

Examples:
  pyshm verify -b science.tar.zst                        is the bundle whole, and still equal to the prefix?
  pyshm verify -b science.tar.zst --stage                is the stage on this node equal to the bundle?
  pyshm verify -b science.tar.zst -b more.tar.zst        the same for a bundle and a layer over it
  pyshm verify --stage 0123456789abcdef --source         is a stage still equal to the prefix?
  pyshm verify -b env.tar.gz --prefix ~/envs/science     the same for a tar that pyshm did not make
  pyshm verify -b science.tar.zst --json | jq .equal

Exit status: 0 all is equal; 1 something differs; 2 the comparison failed";

/// `pyshm verify`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Verify {
    #[command(flatten)]
    bundles: NamedBundles,
    /// Compare a stage: STAGE is its directory or its 16 digits, as 'pyshm status' shows them; without STAGE, the stage
    /// of the bundles
    #[arg(long, value_name = "STAGE", num_args = 0..=1)]
    stage: Option<Option<PathBuf>>,
    /// Compare the tree that was bundled, as this node sees it (the default where no stage is named)
    #[arg(long)]
    source: bool,
    /// The node-local file system that has the stages
    #[arg(long, value_name = "DIR", default_value_os_t = settings::root())]
    root: PathBuf,
    /// Print nothing; the exit status tells the result
    #[arg(short, long)]
    quiet: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn main(&self) -> ExitCode {
        match settings::check().and_then(|()| self.differences()) {
            Ok(differences) if differences.is_empty() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::from(1),
            Err(error) => {
                warn_line!("pyshm: {error}");
                ExitCode::from(2)
            }
        }
    }

    fn differences(&self) -> Result<Vec<Difference>> {
        let sides = self.sides()?;
        let mut found: Vec<Difference> = sides.iter().flat_map(own_problems).collect();
        let (first, others) = sides.split_at(1);
        found.extend(others.iter().flat_map(|other| compare(&first[0], other)));
        self.print(&sides, &found)?;
        Ok(found)
    }

    /// Returns the views to compare, at least two.
    fn sides(&self) -> Result<Vec<View>> {
        let progress = Progress::unless(self.quiet);
        let mut sides = Vec::new();
        sides.extend(of_bundles(&self.bundles.0, progress)?);
        if let Some(dir) = self.stage_dir()? {
            sides.push(of_stage(&dir, progress)?);
        }
        if self.source || self.stage.is_none() {
            let prefixes = sides.first().map(|side: &View| side.prefixes.clone());
            let prefixes = prefixes.ok_or_else(|| {
                Error::Usage(
                    "failed to compare: nothing is named; name a bundle with -b or a stage with --stage"
                        .into(),
                )
            })?;
            sides.push(of_source(&prefixes, progress)?);
        }
        if sides.len() < 2 {
            return Err(Error::Usage(
                "failed to compare a stage with nothing; name a bundle with -b FILE or the tree with --source"
                    .into(),
            ));
        }
        Ok(sides)
    }

    fn print(&self, sides: &[View], found: &[Difference]) -> Result<()> {
        let names: Vec<_> = sides.iter().map(|side| side.name).collect();
        let paths = sides[0].paths.len();
        if self.quiet {
            return Ok(());
        }
        if self.json {
            return print_json(&json!({
                "equal": found.is_empty(), "compared": names, "paths": paths, "differences": found,
            }));
        }
        found.iter().for_each(|difference| print_line!("{difference}"));
        match found.len() {
            0 => print_line!("{}: equal, {paths} paths", names.join(" and ")),
            n => print_line!("{}: {n} differences in {paths} paths", names.join(" and ")),
        }
        Ok(())
    }

    fn stage_dir(&self) -> Result<Option<PathBuf>> {
        let Some(named) = &self.stage else { return Ok(None) };
        if let Some(dir) = named.as_ref().filter(|named| named.is_dir()) {
            return Ok(Some(dir.clone()));
        }
        let place = UserDir::open(&self.root)?;
        let id = match named {
            None => StageId::of_bundles(&self.bundles.0)?,
            Some(digits) => StageId::parse(&digits.to_string_lossy())?,
        };
        let found = Stage::find(&place, &id)?;
        // A stage that does not exist is reported when its index is read.
        let dir = found.map_or_else(|| place.stage_dir(&id), |stage| stage.dir);
        place.tidy();
        Ok(Some(dir))
    }
}
