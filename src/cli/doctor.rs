//! `pyshm doctor`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bundle::NamedBundles;
use crate::bundle::Size;
use crate::cli::json::print_json;
use crate::cli::nodes;
use crate::cli::nodes::AllNodes;
use crate::doctor::{Finding, Level};
use crate::error::{Error, Result};
use crate::{doctor, settings};

const AFTER_HELP: &str = "\
Examined are the session (installation, variables, what LD_PRELOAD does to a program), the launchers on PATH and whether \
LD_PRELOAD reaches them, the bundles (read, and compared with their prefixes by what lstat says), and the nodes: kernel, C library, \
root, room, broadcast helpers, and a program that is started from a small stage. With a launcher behind '--', and in an allocation of \
Slurm's, these are all nodes of the job, otherwise this one.

Each finding is ok, a note, a warning (jobs run, but not as they could) or a FAILURE (they run from the shared file system, or \
complain); all but the first say what to do.

Examples:
  pyshm doctor
  pyshm doctor -b science.tar.zst                        is it readable and fresh, and is there room for it?
  pyshm doctor -- mpiexec -f hosts -n 64                 on the nodes of a job
  salloc -N 4 pyshm doctor --json                        all of it, for scripts

Exit status: 0 nothing failed; 1 something failed; 2 wrong command line";

/// `pyshm doctor`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Doctor {
    #[command(flatten)]
    bundles: NamedBundles,
    /// The node-local file system in which stages are to lie
    #[arg(long, value_name = "DIR", default_value_os_t = settings::root())]
    root: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The job's launcher and its options, as 'mpiexec -f hosts -n 64'
    #[arg(last = true, value_name = "LAUNCHER")]
    launcher: Vec<OsString>,
    /// What a node's own process is told: to say only what it finds there
    #[arg(long, hide = true)]
    name_node: bool,
    /// Bytes that the bundles take
    #[arg(long, hide = true, default_value_t = 0)]
    bytes: u64,
    /// Paths that they have
    #[arg(long, hide = true, default_value_t = 0)]
    entries: u64,
}

/// What a node's process says.
#[derive(Serialize, Deserialize)]
struct Said {
    node: String,
    findings: Vec<Finding>,
}

impl Doctor {
    pub(super) fn main(&self) -> ExitCode {
        let failed = match self.name_node {
            true => self.of_node().map(|()| false),
            false => self.of_all(),
        };
        match failed {
            Ok(failed) => ExitCode::from(u8::from(failed)),
            Err(error) => {
                warn_line!("pyshm: {error}");
                ExitCode::from(2)
            }
        }
    }

    fn of_node(&self) -> Result<()> {
        let needed = Size { bytes: self.bytes, entries: self.entries, at_least: false };
        let findings = doctor::of_node(&self.root, needed, settings::reserve());
        let said = serde_json::to_value(Said { node: nodes::name(), findings });
        let said = said.map_err(|e| Error::system("write JSON")(e.into()))?;
        nodes::print(&nodes::split(&said)).map_err(Error::system("write"))
    }

    /// Whether something failed.
    fn of_all(&self) -> Result<bool> {
        let mut here = doctor::session::examine();
        here.extend(doctor::launchers::examine(self.launcher.first().map(OsString::as_os_str)));
        // Those that are named, else those that are configured.
        let configured = Some(self.bundles.0.clone()).filter(|named| !named.is_empty());
        let (of_bundles, size) =
            doctor::bundles::examine(&configured.unwrap_or_else(settings::bundles));
        here.extend(of_bundles);
        let (nodes, problem) = self.of_nodes(size);
        here.extend(problem);
        let on_nodes = nodes.iter().flat_map(|said| &said.findings);
        let failed = here.iter().chain(on_nodes).any(|finding| finding.level == Level::Failure);
        if self.json {
            print_json(&json!({ "failed": failed, "session": here, "nodes": nodes }))?;
        } else {
            here.iter().for_each(|finding| print(finding, ""));
            print_nodes(&nodes);
        }
        Ok(failed)
    }

    /// What the nodes say, and what kept some of them from it.
    fn of_nodes(&self, size: Size) -> (Vec<Said>, Option<Finding>) {
        let all_nodes = AllNodes::by(&self.launcher);
        let Some(launcher) = all_nodes.launcher_words() else {
            let findings = doctor::of_node(&self.root, size, settings::reserve());
            return (vec![Said { node: nodes::name(), findings }], None);
        };
        let words = [
            "doctor",
            "--bytes",
            &size.bytes.to_string(),
            "--entries",
            &size.entries.to_string(),
            "--root",
        ];
        let mut words: Vec<OsString> = words.map(OsString::from).to_vec();
        words.push(self.root.clone().into());
        let launcher =
            launcher.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let failure = |cause: String| {
            let advice = "see that the launcher reaches each node and that pyshm is seen there under the same path";
            Some(Finding::failure(&launcher, &cause, advice))
        };
        match all_nodes.start(&words) {
            Err(error) => (Vec::new(), failure(error.to_string())),
            Ok(done) => {
                let said = nodes::join(&done.text).into_iter();
                let said: Vec<Said> =
                    said.filter_map(|said| serde_json::from_value(said).ok()).collect();
                let missing = done.expected_nodes.filter(|expected| *expected > said.len());
                let cause = missing
                    .map(|expected| format!("{} of {expected} nodes have answered", said.len()));
                let cause = cause.or_else(|| {
                    (!done.status.success()).then(|| format!("it has failed ({})", done.status))
                });
                (said, cause.and_then(failure))
            }
        }
    }
}

fn print(finding: &Finding, at: &str) {
    print_line!("{:<8} {}{at}: {}", finding.level, finding.what, finding.cause);
    if let Some(advice) = &finding.advice {
        print_line!("{:<8} {advice}", "   ->");
    }
}

/// What is as it should be is said once for all nodes, the rest for each cause.
fn print_nodes(nodes: &[Said]) {
    let mut groups: Vec<(&Finding, Vec<&str>)> = Vec::new();
    for (node, finding) in nodes.iter().flat_map(|n| n.findings.iter().map(move |f| (&n.node, f))) {
        let same = |other: &Finding| match finding.level {
            Level::Ok => other.level == Level::Ok && other.what == finding.what,
            _ => other == finding,
        };
        match groups.iter_mut().find(|(other, _)| same(other)) {
            Some((_, at)) => at.push(node),
            None => groups.push((finding, vec![node])),
        }
    }
    for (finding, at) in groups {
        let place = match at.len() {
            1 if nodes.len() == 1 => String::new(),
            n if finding.level == Level::Ok => {
                format!(" ({n} of {} nodes, as {})", nodes.len(), at[0])
            }
            _ => format!(" ({})", at.join(", ")),
        };
        print(finding, &place);
    }
}
