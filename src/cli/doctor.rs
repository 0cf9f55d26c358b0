//! Implements `pyshm doctor`, which examines this session, the launchers, the bundles and the nodes.
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
pyshm doctor examines the session (installation, variables, what LD_PRELOAD does to a program), the launchers on PATH and \
whether LD_PRELOAD reaches them, and the bundles: each is read, and its prefix is compared with it by lstat. On each node \
pyshm doctor examines the kernel, C library, root, free space and broadcast helpers, and starts a program from a small \
stage. With a launcher after '--', or in a Slurm allocation, all nodes of the job are examined, otherwise only this node.

Each finding is ok, a note, a warning (jobs run, but not as well as they could) or a FAILURE (jobs run from the shared file \
system, or their programs print errors). Each finding that is not ok says what to do.

Examples:
  pyshm doctor
  pyshm doctor -b science.tar.zst                        is the bundle readable and fresh, and is there room for it?
  pyshm doctor -- mpiexec -f hosts -n 64                 on the nodes of a job
  salloc -N 4 pyshm doctor --json                        everything, for scripts

Exit status: 0 nothing failed; 1 something failed; 2 wrong command line";

/// `pyshm doctor`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Doctor {
    #[command(flatten)]
    bundles: NamedBundles,
    /// The node-local file system for stages
    #[arg(long, value_name = "DIR", default_value_os_t = settings::root())]
    root: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The job's launcher and its options, as 'mpiexec -f hosts -n 64'
    #[arg(last = true, value_name = "LAUNCHER")]
    launcher: Vec<OsString>,
    /// (Internal) Tells the process on a node to print only the findings of that node
    #[arg(long, hide = true)]
    name_node: bool,
    /// Bytes that the bundles take in a stage
    #[arg(long, hide = true, default_value_t = 0)]
    bytes: u64,
    /// Paths that the bundles have
    #[arg(long, hide = true, default_value_t = 0)]
    entries: u64,
}

/// What the process on a node found.
#[derive(Serialize, Deserialize)]
struct NodeReport {
    node: String,
    findings: Vec<Finding>,
}

/// Whether one of the findings is a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
}

impl Doctor {
    pub(super) fn main(&self) -> ExitCode {
        let outcome = if self.name_node {
            self.report_node().map(|()| Outcome::Passed)
        } else {
            self.report_all()
        };
        match outcome {
            Ok(Outcome::Passed) => ExitCode::SUCCESS,
            Ok(Outcome::Failed) => ExitCode::from(1),
            Err(error) => {
                warn_line!("pyshm: {error}");
                ExitCode::from(2)
            }
        }
    }

    /// Examines this node and prints the findings for the process that collects them.
    fn report_node(&self) -> Result<()> {
        let needed = Size { bytes: self.bytes, entries: self.entries, at_least: false };
        let findings = doctor::of_node(&self.root, needed, settings::reserve());
        let said = serde_json::to_value(NodeReport { node: nodes::name(), findings });
        let said = said.map_err(|e| Error::system("write JSON")(e.into()))?;
        nodes::print(&nodes::split(&said)).map_err(Error::system("write"))
    }

    /// Examines everything and prints the findings.
    fn report_all(&self) -> Result<Outcome> {
        let mut here = doctor::session::examine();
        here.extend(doctor::launchers::examine(self.launcher.first().map(OsString::as_os_str)));
        // The bundles on the command line, else the configured ones.
        let configured = Some(self.bundles.0.clone()).filter(|named| !named.is_empty());
        let (of_bundles, size) =
            doctor::bundles::examine(&configured.unwrap_or_else(settings::bundles));
        here.extend(of_bundles);
        let (nodes, problem) = self.examine_nodes(size);
        here.extend(problem);
        let on_nodes = nodes.iter().flat_map(|said| &said.findings);
        let failed = here.iter().chain(on_nodes).any(|finding| finding.level == Level::Failure);
        if self.json {
            print_json(&json!({ "failed": failed, "session": here, "nodes": nodes }))?;
        } else {
            here.iter().for_each(|finding| print(finding, ""));
            print_nodes(&nodes);
        }
        Ok(if failed { Outcome::Failed } else { Outcome::Passed })
    }

    /// Collects the nodes' findings, and the reason if some nodes did not answer.
    fn examine_nodes(&self, size: Size) -> (Vec<NodeReport>, Option<Finding>) {
        let all_nodes = AllNodes::by(&self.launcher);
        let Some(launcher) = all_nodes.launcher_words() else {
            let findings = doctor::of_node(&self.root, size, settings::reserve());
            return (vec![NodeReport { node: nodes::name(), findings }], None);
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
            let advice = "make sure that the launcher reaches each node, and that pyshm has the same path there";
            Some(Finding::failure(&launcher, &cause, advice))
        };
        match all_nodes.start(&words) {
            Err(error) => (Vec::new(), failure(error.to_string())),
            Ok(done) => {
                let said = nodes::join(&done.text).into_iter();
                let said: Vec<NodeReport> =
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

/// Prints the findings of all nodes: one line for each thing that is ok, and one for each other cause.
fn print_nodes(nodes: &[NodeReport]) {
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
