//! Implements `pyshm status`, which shows the stages of this node, or of all nodes of a job.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::json::print_json;
use crate::cli::nodes;
use crate::cli::nodes::AllNodes;
use crate::error::{Error, Result};
use crate::stage::{Stage, UserDir};
use crate::text;

const AFTER_HELP: &str = "\
Examples:
  pyshm status --paths                                   every path, and the bundle that the path came from
  pyshm status --paths ~/envs/science/lib --json         the paths in a directory";

/// `pyshm status`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Status {
    /// The node-local file system to look in
    #[arg(long, value_name = "DIR", default_value_os_t = crate::settings::root())]
    root: PathBuf,
    /// List every path that a stage answers for, or those at and below PATH, with the bundle that it came from
    #[arg(long, value_name = "PATH", num_args = 0..)]
    paths: Option<Vec<PathBuf>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nodes: AllNodes,
}

impl Status {
    pub(super) fn run(self) -> Result<()> {
        if let Some(text) = self.nodes.run(&self.words())? {
            if !self.json {
                print_line!("{}", text.trim_end());
                return Ok(());
            }
            return print_json(&nodes::join(&text));
        }
        let place = UserDir::open(&self.root)?;
        let shown = self.show(&place);
        place.tidy();
        shown
    }

    /// The arguments of the same command on each node.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> =
            vec!["status".into(), "--root".into(), self.root.clone().into()];
        if let Some(paths) = &self.paths {
            words.push("--paths".into());
            let absolute =
                |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
            words.extend(paths.iter().map(|path| absolute(path).into_os_string()));
        }
        words.extend(self.json.then(|| "--json".into()));
        words
    }

    fn show(&self, place: &UserDir) -> Result<()> {
        let stages = Stage::all(place)?;
        if self.json {
            let stages = stages.iter().map(|s| self.to_json(s)).collect::<Result<Vec<_>>>()?;
            if !self.nodes.name_node {
                return print_json(&stages);
            }
            let said = json!({ "node": nodes::name(), "stages": stages });
            return nodes::print(&nodes::split(&said)).map_err(Error::system("write"));
        }
        let mut text = String::new();
        if stages.is_empty() {
            let _ = writeln!(text, "you have no stages in {}", self.root.display());
        }
        for stage in &stages {
            if let Err(error) = stage.check() {
                warn_line!("pyshm: {error}; 'pyshm unstage --force' may remove it");
                continue;
            }
            self.describe(stage, &mut text)?;
        }
        if self.nodes.name_node {
            let node = nodes::name();
            text = text.lines().map(|line| format!("{node}: {line}\n")).collect();
            return nodes::print(&text).map_err(Error::system("write"));
        }
        if !text.is_empty() {
            print_line!("{}", text.trim_end());
        }
        Ok(())
    }

    fn describe(&self, stage: &Stage, text: &mut String) -> Result<()> {
        let info = stage.info().unwrap_or_default();
        let state = match (stage.in_use(), info.keep) {
            (true, false) => "in use",
            (true, true) => "in use, kept",
            (false, true) => "not in use, kept",
            (false, false) => "not in use",
        };
        let _ = writeln!(text, "{stage}  {state}");
        if stage.is_hollow() {
            let _ =
                writeln!(text, "  holds no files: its job runs from the shared file system here");
            return Ok(());
        }
        for (i, prefix) in info.prefixes.iter().enumerate() {
            let bundle = info.brought_by.get(i).and_then(|number| info.bundles.get(*number));
            let from = bundle.map(|b| format!("  from {}", b.display())).unwrap_or_default();
            let _ = writeln!(text, "  {}{from}", prefix.display());
        }
        let (answered, passed) = stage.counters();
        let _ = writeln!(
            text,
            "  {} paths, {}; {answered} operations answered here, {passed} passed on",
            info.entries,
            text::bytes(info.unpacked_bytes)
        );
        if self.paths.is_some() {
            for (path, bundle) in self.paths_of(stage)? {
                let _ = writeln!(text, "  {}\t{}", path.display(), bundle.display());
            }
        }
        Ok(())
    }

    /// The paths of a stage that the user asks for, each with its bundle.
    fn paths_of(&self, stage: &Stage) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut paths = stage.paths()?;
        if let Some(named) = self.paths.as_ref().filter(|named| !named.is_empty()) {
            let named: Vec<PathBuf> =
                named.iter().flat_map(|path: &PathBuf| spellings(path)).collect();
            paths.retain(|(path, _)| named.iter().any(|named| path.starts_with(named)));
        }
        Ok(paths)
    }

    fn to_json(&self, stage: &Stage) -> Result<Value> {
        if let Err(error) = stage.check() {
            return Ok(json!({ "stage": stage.dir, "untrusted": error.to_string() }));
        }
        let (answered, passed) = stage.counters();
        let mut value = json!({
            "stage": stage.dir, "in_use": stage.in_use(), "hollow": stage.is_hollow(),
            "info": stage.info().ok(), "answered": answered, "passed": passed,
        });
        if self.paths.is_some() && !stage.is_hollow() {
            let path = |(path, bundle): &(PathBuf, PathBuf)| json!({ "path": path.to_string_lossy(), "bundle": bundle.to_string_lossy() });
            value["paths"] = self.paths_of(stage)?.iter().map(path).collect();
        }
        Ok(value)
    }
}

/// Returns the spellings under which a stage may have a path: the path as written, the path with its parent resolved,
/// and the path fully resolved.
fn spellings(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let parent = absolute.parent().and_then(|parent| parent.canonicalize().ok());
    let in_parent = parent.zip(absolute.file_name()).map(|(parent, name)| parent.join(name));
    let real = absolute.canonicalize().ok();
    [Some(absolute), in_parent, real].into_iter().flatten().collect()
}
