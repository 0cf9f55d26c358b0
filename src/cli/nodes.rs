//! `--all-nodes`: the same command on every node of a job, started by the job's own launcher.
//!
//! What nodes write comes together on the launcher's standard output. Launchers pass on what they can read at once, and
//! do not look for lines: a line only stays whole when nothing else is in the pipe with it. So a node writes as much as a
//! pipe takes at once, and waits until that was read.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::launchers::{Environment, Nodes};
use crate::program::lookup;
use crate::{install, launchers};

/// Where a command is to run.
#[derive(Debug, Args)]
pub struct AllNodes {
    /// On every node of the job: by srun in an allocation of Slurm's, else by the LAUNCHER that is given behind '--'
    #[arg(long)]
    all_nodes: bool,
    /// The job's launcher and its options, as 'mpiexec -f hosts -n 64'
    #[arg(last = true, value_name = "LAUNCHER", requires = "all_nodes")]
    launcher: Vec<OsString>,
    /// What a node's own process is told
    #[arg(long, hide = true)]
    pub(super) name_node: bool,
}

/// What a pipe takes as a whole or not at all.
const AT_ONCE: usize = 4096;
/// Bytes of a value in one line: as JSON inside of JSON they may become twice as many.
const PART: usize = 1800;
/// A launcher that has not read for so long reads in another way.
const PATIENCE: Duration = Duration::from_secs(2);

/// A piece of what a node says.
#[derive(Serialize, Deserialize)]
struct Part {
    node: String,
    part: usize,
    text: String,
}

/// Writes lines so that those of several nodes do not mix.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut from = 0;
    while from < text.len() {
        let rest = &text.as_bytes()[from..];
        let whole = rest[..rest.len().min(AT_ONCE)].iter().rposition(|b| *b == b'\n');
        // A line that is longer than that goes by itself.
        let end = whole.or_else(|| rest.iter().position(|b| *b == b'\n'));
        let end = end.map_or(rest.len(), |newline| newline + 1);
        out.write_all(&rest[..end])?;
        out.flush()?;
        from += end;
        let begun = Instant::now();
        while rustix::io::ioctl_fionread(&out).is_ok_and(|unread| unread > 0)
            && begun.elapsed() < PATIENCE
        {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    Ok(())
}

/// A value in lines for [`join`].
pub(super) fn split(value: &Value) -> String {
    let all = value.to_string();
    let (mut lines, mut rest, mut part) = (String::new(), &all[..], 0);
    while !rest.is_empty() {
        let end = (0..=rest.len().min(PART)).rev().find(|end| rest.is_char_boundary(*end));
        let (text, others) = rest.split_at(end.unwrap_or_default());
        let line = Part { node: name(), part, text: text.into() };
        lines += &serde_json::to_string(&line).unwrap_or_default();
        lines.push('\n');
        (rest, part) = (others, part + 1);
    }
    lines
}

/// The values that nodes have said, by the nodes' names; whatever a launcher says beside them is none.
pub(super) fn join(text: &str) -> Vec<Value> {
    let mut nodes: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
    for part in text.lines().filter_map(|line| serde_json::from_str::<Part>(line).ok()) {
        nodes.entry(part.node).or_default().insert(part.part, part.text);
    }
    let whole = |parts: BTreeMap<usize, String>| parts.into_values().collect::<String>();
    nodes.into_values().filter_map(|parts| serde_json::from_str(&whole(parts)).ok()).collect()
}

/// This node's name.
pub(super) fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What came of a command on all nodes.
pub(super) struct Done {
    /// What the nodes wrote to their standard output.
    pub text: String,
    /// The launcher's.
    pub status: ExitStatus,
    /// Number of nodes, where it is known.
    pub promised: Option<usize>,
}

impl AllNodes {
    /// On the nodes that get ranks by `launcher`; by srun where it is empty.
    pub(super) fn by(launcher: &[OsString]) -> Self {
        Self { all_nodes: true, launcher: launcher.to_vec(), name_node: false }
    }

    /// Runs `pyshm` with `arguments` on all nodes, where that is asked for, and returns what they write to their
    /// standard output.
    ///
    /// # Errors
    /// [`Error::Usage`] without a launcher, [`Error::Unavailable`] where it is not understood or fails.
    pub(super) fn run(&self, arguments: &[OsString]) -> Result<Option<String>> {
        if !self.all_nodes {
            return Ok(None);
        }
        let done = self.start(arguments)?;
        if done.status.success() {
            return Ok(Some(done.text));
        }
        print_line!("{}", done.text.trim_end());
        Err(Error::Unavailable(format!("the command has failed on a node ({})", done.status)))
    }

    /// The same, whether it succeeds or not.
    ///
    /// # Errors
    /// As [`AllNodes::run`], where nothing was started.
    pub(super) fn start(&self, arguments: &[OsString]) -> Result<Done> {
        let environment = Environment::current(install::SITE);
        let mut words = self.launcher.clone();
        if words.is_empty() {
            if environment.var("SLURM_JOB_ID").is_none() {
                let text = "--all-nodes needs the job's launcher where there is no allocation of Slurm's: \
                            pyshm status --all-nodes -- mpiexec -f hosts -n 64";
                return Err(Error::Usage(text.into()));
            }
            words.push("srun".into());
        }
        let launcher = launchers::identify(&lookup::find(&words[0])?)?;
        // What a launcher takes to be its program; it is never started.
        words.push("true".into());
        let not_understood = || Error::Usage("the launcher's words start no program".into());
        let plan = launchers::plan(&words, launcher, &environment)?.ok_or_else(not_understood)?;
        // On one node alone no launcher is needed.
        let mut step = if plan.nodes == Nodes::Here { Vec::new() } else { plan.step };
        step.push(std::env::current_exe().map_err(Error::system("find this program"))?.into());
        let mut command = Command::new(&step[0]);
        command.args(&step[1..]);
        command.args(arguments).arg("--name-node").stdin(Stdio::null()).stderr(Stdio::inherit());
        let done = command.output().map_err(Error::system("start the launcher"))?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        Ok(Done { text, status: done.status, promised: plan.expected_nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_any_length_comes_in_short_lines_and_is_put_together_again() {
        let path = "/ä\"\\/".repeat(3000);
        let value = serde_json::json!({ "node": name(), "paths": [path, "b"] });
        let lines = split(&value);
        assert!(lines.lines().all(|line| line.len() < AT_ONCE));
        let mut mixed: Vec<&str> = lines.lines().collect();
        mixed.insert(1, "srun: job 7 queued");
        mixed.reverse();
        assert_eq!(join(&mixed.join("\n")), [value]);
    }
}
