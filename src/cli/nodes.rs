//! Runs a command of `pyshm` on every node of a job by the job's own launcher (`--all-nodes`).
//!
//! The launcher's standard output mixes the output of all nodes. Launchers pass on the bytes of each read, even if
//! these bytes end within a line, so a line stays whole only if it is alone in its pipe. Each node therefore writes no
//! more than a pipe takes in one write, and waits until the launcher has read these bytes.
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

/// The options that say on which nodes a command runs.
#[derive(Debug, Args)]
pub struct AllNodes {
    /// Run on every node of the job: with srun in a Slurm allocation, else with the LAUNCHER given after '--'
    #[arg(long)]
    all_nodes: bool,
    /// The job's launcher and its options, as in 'mpiexec -f hosts -n 64'
    #[arg(last = true, value_name = "LAUNCHER", requires = "all_nodes")]
    launcher: Vec<OsString>,
    /// (Internal) Tells the process on a node to print the node's name too
    #[arg(long, hide = true)]
    pub(super) name_node: bool,
}

/// The bytes that a pipe takes whole or not at all (PIPE_BUF).
const AT_ONCE: usize = 4096;
/// The most bytes of a value in one line; the escapes of JSON within JSON may double them.
const PART: usize = 1800;
/// How long to wait for a launcher to read. If a launcher takes longer, standard output is not a pipe that it reads.
const PATIENCE: Duration = Duration::from_secs(2);

/// One line of a node's value.
#[derive(Serialize, Deserialize)]
struct Part {
    node: String,
    part: usize,
    text: String,
}

/// Prints lines so that they stay whole among the lines of other nodes.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut from = 0;
    while from < text.len() {
        let rest = &text.as_bytes()[from..];
        let whole = rest[..rest.len().min(AT_ONCE)].iter().rposition(|b| *b == b'\n');
        // A line that is longer than this is written alone.
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

/// Splits a value into lines for [`join`].
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

/// Joins the lines that nodes printed with [`split`]: returns their values, sorted by the nodes' names. Lines that a
/// launcher printed between them are left out.
pub(super) fn join(text: &str) -> Vec<Value> {
    let mut nodes: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
    for part in text.lines().filter_map(|line| serde_json::from_str::<Part>(line).ok()) {
        nodes.entry(part.node).or_default().insert(part.part, part.text);
    }
    let whole = |parts: BTreeMap<usize, String>| parts.into_values().collect::<String>();
    nodes.into_values().filter_map(|parts| serde_json::from_str(&whole(parts)).ok()).collect()
}

/// The name of this node.
pub(super) fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The result of a command on all nodes.
pub(super) struct Done {
    /// The standard output of all nodes.
    pub text: String,
    /// How the launcher exited.
    pub status: ExitStatus,
    /// The number of nodes, where it is known.
    pub expected_nodes: Option<usize>,
}

impl AllNodes {
    /// Chooses the nodes on which the command line `launcher` starts ranks, or those of the allocation if it is empty.
    pub(super) fn by(launcher: &[OsString]) -> Self {
        Self { all_nodes: true, launcher: launcher.to_vec(), name_node: false }
    }

    /// Returns the command line of the job's launcher: the one that was given, else the launcher of the allocation;
    /// `None` outside an allocation.
    pub(super) fn launcher_words(&self) -> Option<Vec<OsString>> {
        if !self.launcher.is_empty() {
            return Some(self.launcher.clone());
        }
        let environment = Environment::current(install::SITE);
        Some(vec![launchers::of_allocation(&environment)?.into()])
    }

    /// Runs `pyshm` with `arguments` on all nodes and returns their standard output; `None` without `--all-nodes`.
    ///
    /// # Errors
    /// [`Error::Usage`] without a launcher, [`Error::Unavailable`] or [`Error::CannotRun`] if the launcher is not
    /// understood or fails.
    pub(super) fn run(&self, arguments: &[OsString]) -> Result<Option<String>> {
        if !self.all_nodes {
            return Ok(None);
        }
        let done = self.start(arguments)?;
        if done.status.success() {
            return Ok(Some(done.text));
        }
        print_line!("{}", done.text.trim_end());
        let text = format!("failed to run the command on every node: {}", done.status);
        Err(Error::Unavailable(text))
    }

    /// Runs `pyshm` with `arguments` on all nodes, even without `--all-nodes`; a failed command is a result, not an
    /// error.
    ///
    /// # Errors
    /// The errors of [`AllNodes::run`] if nothing was started.
    pub(super) fn start(&self, arguments: &[OsString]) -> Result<Done> {
        let environment = Environment::current(install::SITE);
        let mut words = self.launcher_words().ok_or_else(|| {
            let text = "failed to find the job's nodes: there is no Slurm allocation; give the job's launcher, as in \
                        pyshm status --all-nodes -- mpiexec -f hosts -n 64";
            Error::Usage(text.into())
        })?;
        let launcher = launchers::identify(&lookup::find(&words[0])?)?;
        // This word stands for the program, and is never started.
        words.push("true".into());
        let plan = launchers::plan(&words, launcher, &environment)?.ok_or_else(|| {
            let launcher = words[0].display();
            let text = format!(
                "failed to start pyshm by {launcher}: with these options it starts no program; remove --help and the like"
            );
            Error::Usage(text)
        })?;
        // If the job has only this node, no launcher is needed.
        let mut step = if plan.nodes == Nodes::Here { Vec::new() } else { plan.step };
        step.push(std::env::current_exe().map_err(Error::system("find this program"))?.into());
        let mut command = Command::new(&step[0]);
        command.args(&step[1..]);
        command.args(arguments).arg("--name-node").stdin(Stdio::null()).stderr(Stdio::inherit());
        let done = command.output().map_err(Error::system("start the launcher"))?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        Ok(Done { text, status: done.status, expected_nodes: plan.expected_nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_any_length_comes_in_short_lines_and_is_joined_again() {
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
