//! Implements `pyshm stage`, `pyshm unstage` and `pyshm gc`, which make and remove stages by hand.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::bundle::NamedBundles;
use crate::cli::json::print_json;
use crate::cli::nodes;
use crate::cli::nodes::AllNodes;
use crate::error::{Error, Result};
use crate::instrument::timeline;
use crate::instrument::timeline::Times;
use crate::process::{memory_policy, signals};
use crate::stage::{
    AfterUse, BuildOptions, Stage, StageId, UserDir, job_record, stage_here, teardown,
};
use crate::{settings, stage};

/// `pyshm stage`
#[derive(Debug, Args)]
pub struct StageCommand {
    #[command(flatten)]
    bundles: NamedBundles,
    /// The node-local file system to stage in
    #[arg(long, value_name = "DIR", default_value_os_t = crate::settings::root())]
    root: PathBuf,
    /// Number of threads that decompress and write (0: as many as this process may use, at most six)
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Print when each phase ran
    #[arg(long)]
    timeline: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl StageCommand {
    pub(super) fn run(self) -> Result<()> {
        let bundles = &self.bundles.0;
        if bundles.is_empty() {
            return Err(Error::Usage(
                "failed to stage: no bundle is named; name one with -b FILE".into(),
            ));
        }
        let id = StageId::of_bundles(bundles)?;
        let place = UserDir::open(&self.root)?;
        teardown::register_user_dir(&place);
        signals::end_on(&[SIGINT, SIGTERM, SIGHUP])?;
        memory_policy::prepare();
        let options = BuildOptions {
            threads: self.threads,
            after_use: AfterUse::Keep,
            reserve: settings::reserve(),
            ..BuildOptions::default()
        };
        let staged = stage_here(&place, &id, bundles, options).inspect_err(|_| place.tidy())?;
        let Some(staged) = staged else { return Ok(()) };
        for warning in &staged.warnings {
            warn_line!("pyshm: warning: {warning}");
        }
        if self.json {
            return print_json(&json!({
                "stage": staged.stage.dir, "bundle_bytes": staged.bundle_bytes,
                "unpacked_bytes": staged.unpacked_bytes, "seconds": staged.seconds,
                "changed": staged.changed, "adopted_bytes": staged.adopted_bytes,
                "adopted_from": staged.adopted_from,
                "timeline": self.timeline.then(Times::now),
            }));
        }
        if self.timeline {
            warn_line!("{}", timeline::table(&[Times::now()]).trim_end());
        }
        print_line!("{}", staged.stage);
        Ok(())
    }
}

/// `pyshm unstage`
#[derive(Debug, Args)]
pub struct Unstage {
    /// A stage's directory or its 16 digits, as 'pyshm status' shows them
    #[arg(required_unless_present_any = ["all", "unused"])]
    stages: Vec<PathBuf>,
    /// Remove all of your stages on this node
    #[arg(long)]
    all: bool,
    /// Remove all of your stages that are not in use, kept ones too
    #[arg(long, conflicts_with = "all")]
    unused: bool,
    /// Remove stages that are in use, too
    #[arg(long)]
    force: bool,
    /// The node-local file system that has the stages
    #[arg(long, value_name = "DIR", default_value_os_t = crate::settings::root())]
    root: PathBuf,
    #[command(flatten)]
    nodes: AllNodes,
}

impl Unstage {
    pub(super) fn run(self) -> Result<()> {
        let mut words: Vec<OsString> =
            vec!["unstage".into(), "--root".into(), self.root.clone().into()];
        words.extend(self.all.then(|| "--all".into()));
        words.extend(self.unused.then(|| "--unused".into()));
        words.extend(self.force.then(|| "--force".into()));
        words.extend(self.stages.iter().map(OsString::from));
        if self.nodes.run(&words)?.is_some() {
            return Ok(());
        }
        let place = UserDir::open(&self.root)?;
        let removed = self.remove(&place);
        job_record::sweep(&place);
        place.tidy();
        removed
    }

    fn remove(&self, place: &UserDir) -> Result<()> {
        let stages = if self.all || self.unused {
            // If the builder of a stage was killed, the stage has no final name by which it could be removed.
            stage::remove_unfinished(place)?;
            Stage::all(place)?
        } else {
            self.named(place)?
        };
        for stage in stages {
            let name = stage.to_string();
            if self.force {
                stage.purge()?;
                continue;
            }
            stage.check()?;
            if !stage.purge_unused()? && !self.unused {
                let text = format!(
                    "failed to remove {name}: it is in use; wait for its job, or remove it with --force"
                );
                return Err(Error::TryAgain(text));
            }
        }
        Ok(())
    }

    fn named(&self, place: &UserDir) -> Result<Vec<Stage>> {
        let find = |name: &PathBuf| {
            let digits = name.file_name().unwrap_or_default().to_string_lossy();
            let id = StageId::parse(&digits)?;
            // Any directory with this name counts, because --force also removes one that is not a stage.
            let known = Stage::all(place)?.into_iter().find(|stage| stage.id == id);
            known.ok_or_else(|| {
                let cause = "no stage has this name; 'pyshm status' lists those of this node";
                Error::read("stage", &place.stage_dir(&id))(std::io::Error::other(cause))
            })
        };
        self.stages.iter().map(find).collect()
    }
}

/// `pyshm gc`
#[derive(Debug, Args)]
pub struct Gc {
    /// The node-local file system to clean
    #[arg(long, value_name = "DIR", default_value_os_t = crate::settings::root())]
    root: PathBuf,
    #[command(flatten)]
    nodes: AllNodes,
}

impl Gc {
    pub(super) fn run(self) -> Result<()> {
        if let Some(text) =
            self.nodes.run(&["gc".into(), "--root".into(), self.root.clone().into()])?
        {
            print_line!("{}", text.trim_end());
            return Ok(());
        }
        let place = UserDir::open(&self.root)?;
        let node =
            if self.nodes.name_node { format!("{}: ", nodes::name()) } else { String::new() };
        for removed in stage::collect_garbage(&place, &[])? {
            print_line!("{node}{}", removed.display());
        }
        job_record::sweep(&place);
        place.tidy();
        Ok(())
    }
}
