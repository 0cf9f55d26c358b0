//! `pyshm stage`, `pyshm unstage`, `pyshm status` and `pyshm gc`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{DEFAULT_ROOT, print_json};
use crate::error::{Error, Result};
use crate::progress;
use crate::run::{cleanup, job};
use crate::stage::local::stage_here;
use crate::stage::{self, BuildOptions, Place, Stage, StageId};

/// `pyshm stage`
#[derive(Debug, Args)]
pub struct StageCommand {
    /// A bundle; may be given several times
    #[arg(short, long = "bundle", value_name = "FILE", required = true)]
    bundles: Vec<PathBuf>,
    /// The node-local file system to stage in
    #[arg(long, value_name = "DIR", default_value = DEFAULT_ROOT)]
    root: PathBuf,
    /// Threads that decompress and write (0: as many as this process may use, at most six)
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl StageCommand {
    pub(super) fn run(self) -> Result<()> {
        let id = StageId::of_bundles(&self.bundles)?;
        let place = Place::open(&self.root)?;
        cleanup::register_place(&place);
        cleanup::on_signals(&[SIGINT, SIGTERM, SIGHUP])?;
        let options = BuildOptions { threads: self.threads, interests: None, keep: true };
        let staged =
            stage_here(&place, &id, &self.bundles, options).inspect_err(|_| place.tidy())?;
        let Some(staged) = staged else { return Ok(()) };
        if self.json {
            return print_json(&json!({
                "stage": staged.stage.dir, "bundle_bytes": staged.bundle_bytes,
                "unpacked_bytes": staged.unpacked_bytes, "seconds": staged.seconds,
            }));
        }
        print_line!("{}", staged.stage);
        Ok(())
    }
}

/// `pyshm unstage`
#[derive(Debug, Args)]
pub struct Unstage {
    /// A stage's directory or its 16 digits, as 'pyshm status' shows them
    #[arg(required_unless_present = "all")]
    stages: Vec<PathBuf>,
    /// All stages of yours on this node
    #[arg(long)]
    all: bool,
    /// Also those that are in use
    #[arg(long)]
    force: bool,
    /// The node-local file system they are in
    #[arg(long, value_name = "DIR", default_value = DEFAULT_ROOT)]
    root: PathBuf,
}

impl Unstage {
    pub(super) fn run(self) -> Result<()> {
        let place = Place::open(&self.root)?;
        let stages = if self.all { place.stages()? } else { self.named(&place)? };
        for stage in stages {
            let name = stage.to_string();
            if self.force {
                stage.purge()?;
            } else if !stage.purge_unused()? {
                let text =
                    format!("{name} is in use: wait for its job, or remove it anyway with --force");
                return Err(Error::TryAgain(text));
            }
        }
        place.tidy();
        Ok(())
    }

    fn named(&self, place: &Place) -> Result<Vec<Stage>> {
        let find = |name: &PathBuf| {
            let digits = name.file_name().unwrap_or_default().to_string_lossy();
            let missing = || Error::read("stage", name)(std::io::ErrorKind::NotFound.into());
            Stage::find(place, &StageId::parse(&digits)?).ok_or_else(missing)
        };
        self.stages.iter().map(find).collect()
    }
}

/// `pyshm status`
#[derive(Debug, Args)]
pub struct Status {
    /// The node-local file system to look in
    #[arg(long, value_name = "DIR", default_value = DEFAULT_ROOT)]
    root: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self) -> Result<()> {
        let place = Place::open(&self.root)?;
        let stages = place.stages()?;
        if self.json {
            let shown = |stage: &Stage| {
                let (answered, passed) = stage.counters();
                json!({
                    "stage": stage.dir, "in_use": stage.in_use(), "hollow": stage.is_hollow(),
                    "info": stage.info().ok(), "answered": answered, "passed": passed,
                })
            };
            return print_json(&stages.iter().map(shown).collect::<Vec<_>>());
        }
        if stages.is_empty() {
            print_line!("nothing is staged in {}", self.root.display());
        }
        for stage in &stages {
            let state = if stage.in_use() { "in use" } else { "not in use" };
            print_line!("{stage}  {state}");
            let Ok(info) = stage.info() else { continue };
            for prefix in &info.prefixes {
                print_line!("  {}", prefix.display());
            }
            let (answered, passed) = stage.counters();
            print_line!(
                "  {} paths, {}; {answered} operations answered here, {passed} passed on",
                info.entries,
                progress::bytes(info.unpacked_bytes)
            );
        }
        place.tidy();
        Ok(())
    }
}

/// `pyshm gc`
#[derive(Debug, Args)]
pub struct Gc {
    /// The node-local file system to clean
    #[arg(long, value_name = "DIR", default_value = DEFAULT_ROOT)]
    root: PathBuf,
}

impl Gc {
    pub(super) fn run(self) -> Result<()> {
        let place = Place::open(&self.root)?;
        for removed in stage::collect_garbage(&place)? {
            print_line!("{}", removed.display());
        }
        job::sweep(&place);
        place.tidy();
        Ok(())
    }
}
