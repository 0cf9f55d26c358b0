//! Runs a staging step: a process that stages, reports events on its standard output, sleeps while the command runs,
//! and removes the stage when its standard input ends.
//!
//! The process is `pyshm-bcast` under a launcher ([`broadcast`]) or a helper on this node ([`local`]).
#![forbid(unsafe_code)]

pub mod broadcast;
pub mod helper;
pub mod hung_launcher;
pub mod local;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::error::{Error, Result};
use crate::process::signals::ENDING;
use crate::protocol::events::Event;
use crate::run::inbox::{Inbox, Message};
use crate::run::step::hung_launcher::{HangDetector, INTERVAL};

/// Lines of a step's standard error that are kept for the message when it fails.
const KEPT_LINES: usize = 20;
/// How long a step may take to release the stage on all nodes: a busy node needs time to remove some gigabytes. The
/// time is less than half of the minute that resource managers give a job that they end.
const RELEASE: Duration = Duration::from_secs(20);
/// How long the release may take after a signal that ends the job.
const HURRIED_RELEASE: Duration = Duration::from_secs(5);

/// How a step has ended.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// The number of operations that were answered locally, and the number of those that were passed on; `None` if the
    /// step did not report these numbers.
    pub counted: Option<(u64, u64)>,
    /// Whether the step has cleaned up on every node.
    pub clean: bool,
}

/// Whether a process ended when it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The process ended without force.
    Orderly,
    /// The process was ended by force.
    Forced,
}

/// What happens to a step's standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stderr {
    /// The last lines are kept for the message when the step fails.
    Kept,
    /// The last lines are kept, and all lines are also shown.
    Shown,
}

/// The kind of process that runs a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A launcher with processes on the nodes; it leads a process group of its own.
    Launcher,
    /// A helper on this node.
    Helper,
}

/// A running step.
#[derive(Debug)]
pub struct Step {
    number: u32,
    name: String,
    kind: Kind,
    child: Child,
    stdin: Option<ChildStdin>,
    /// The last lines of the step's standard error.
    stderr: Arc<Mutex<VecDeque<String>>>,
}

impl Step {
    /// Starts `command`, a launcher with its arguments, in a process group of its own, so that Ctrl-C on the terminal
    /// does not end the step before it can clean up.
    ///
    /// # Errors
    /// [`Error::CannotRun`] when `command` cannot be started.
    pub fn launch(mut command: Command, inbox: &Inbox, stderr: Stderr) -> Result<Self> {
        command.process_group(0).stderr(Stdio::piped());
        let mut step = Self::start(command, inbox, Kind::Launcher)?;
        let kept = step.stderr.clone();
        if let Some(pipe) = step.child.stderr.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).split(b'\n').map_while(std::io::Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if stderr == Stderr::Shown {
                        warn_line!("{line}");
                    }
                    let Ok(mut kept) = kept.lock() else { break };
                    kept.push_back(line);
                    if kept.len() > KEPT_LINES {
                        kept.pop_front();
                    }
                }
            });
        }
        Ok(step)
    }

    /// Starts `command`, a helper on this node, which shows its progress itself.
    ///
    /// # Errors
    /// As [`Step::launch`].
    pub fn help(command: Command, inbox: &Inbox) -> Result<Self> {
        Self::start(command, inbox, Kind::Helper)
    }

    fn start(mut command: Command, inbox: &Inbox, kind: Kind) -> Result<Self> {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|cause| {
            let what = format!("start the staging step {name}");
            Error::cannot_run(what, cause, "pyshm-run -v shows its command")
        })?;
        let stdin = child.stdin.take();
        if let Some(stdout) = child.stdout.take() {
            let to = inbox.sender();
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).split(b'\n').map_while(std::io::Result::ok) {
                    if let Some(event) = Event::read(&String::from_utf8_lossy(&line)) {
                        let _ = to.send(Message::Step(number, event));
                    }
                }
                let _ = to.send(Message::Closed(number));
            });
        }
        Ok(Self { number, name, kind, child, stdin, stderr: Arc::default() })
    }

    /// Waits for the step's next event, at most for `limit`.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when a signal ends the job, after the step has ended; [`Error::Reported`] with the
    /// failure that the step reports; [`Error::Unavailable`] when the step reports nothing within `limit`, hangs, or
    /// ends.
    pub fn wait(&mut self, inbox: &Inbox, limit: Option<Duration>) -> Result<Event> {
        let begun = Instant::now();
        let mut hang = HangDetector::default();
        loop {
            let left = limit.map_or(INTERVAL, |l| l.saturating_sub(begun.elapsed()));
            match inbox.next(left.min(INTERVAL)) {
                Some(Message::Signal(signal, _)) if ENDING.contains(&signal) => {
                    self.stop();
                    return Err(Error::Interrupted(signal));
                }
                Some(Message::Step(number, event)) if number == self.number => match event {
                    Event::Failed(failure) => return Err(failure.into()),
                    event => return Ok(event),
                },
                Some(Message::Closed(number)) if number == self.number => {
                    return Err(self.ended_early());
                }
                None if limit.is_some_and(|l| begun.elapsed() >= l) => {
                    self.stop();
                    let seconds = begun.elapsed().as_secs();
                    let why = format!("it reported nothing for {seconds} s; raise PYSHM_WAIT");
                    return Err(self.failed(&why));
                }
                None if self.kind == Kind::Launcher && hang.look(self.child.id()) => {
                    self.stop();
                    return Err(self.failed("all its processes ended"));
                }
                None => {}
                Some(_) => hang.reset(),
            }
        }
    }

    /// Ends the step after the command has ended. The step releases the stage on every node.
    pub fn finish(mut self, inbox: &Inbox) -> Finished {
        self.ask_to_end();
        let (mut limit, mut next_look) = (RELEASE, INTERVAL);
        let begun = Instant::now();
        let mut hang = HangDetector::default();
        let mut counted = None;
        while begun.elapsed() < limit {
            match inbox.next(Duration::from_millis(20)) {
                Some(Message::Step(number, Event::Purged { answered, passed }))
                    if number == self.number =>
                {
                    counted = Some((answered, passed));
                }
                Some(Message::Closed(number)) if number == self.number => break,
                Some(Message::Signal(signal, _)) if ENDING.contains(&signal) => {
                    limit = HURRIED_RELEASE;
                }
                _ if self.has_ended() => break,
                _ => {}
            }
            if self.kind == Kind::Launcher && begun.elapsed() >= next_look {
                next_look += INTERVAL;
                if hang.look(self.child.id()) {
                    break;
                }
            }
        }
        let orderly = self.end_within(Duration::from_secs(2)) == Ending::Orderly;
        Finished { counted, clean: orderly && (counted.is_some() || self.kind == Kind::Helper) }
    }

    /// Ends the step without waiting for the command, within some four seconds. The step still cleans up.
    pub fn stop(&mut self) -> Ending {
        self.ask_to_end();
        // A helper cleans up on a signal. A launcher gets no signal here, since it would end its processes before they
        // have cleaned up.
        if self.kind == Kind::Helper {
            self.signal(Signal::TERM);
        }
        if self.ends_within(Duration::from_millis(2500)) {
            return Ending::Orderly;
        }
        self.end_within(Duration::from_millis(1500))
    }

    /// Asks the step to end, by writing a word to its input and closing the input: some launchers do not pass on the
    /// end of the input.
    fn ask_to_end(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.write_all(b"purge\n").and_then(|()| stdin.flush());
        }
    }

    /// Waits a moment for the step to end. If it does not end, sends SIGTERM and, after `limit`, SIGKILL. Returns
    /// whether force was needed.
    fn end_within(&mut self, limit: Duration) -> Ending {
        if self.ends_within(Duration::from_millis(200)) {
            return Ending::Orderly;
        }
        self.signal(Signal::TERM);
        if !self.ends_within(limit) {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        Ending::Forced
    }

    fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.child.id() as i32) else { return };
        let _ = match self.kind {
            Kind::Launcher => kill_process_group(pid, signal),
            Kind::Helper => kill_process(pid, signal),
        };
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn ends_within(&mut self, limit: Duration) -> bool {
        let begun = Instant::now();
        while !self.has_ended() {
            if begun.elapsed() >= limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Returns the error of a step that closed its output before it should have ended.
    fn ended_early(&mut self) -> Error {
        if !self.ends_within(Duration::from_secs(2)) {
            self.end_within(Duration::from_secs(1));
        }
        let how = match self.child.try_wait() {
            Ok(Some(status)) => match status.signal() {
                Some(signal) => format!("signal {signal} ended it"),
                None => format!("it ended with code {}", status.code().unwrap_or_default()),
            },
            _ => "it closed its output".into(),
        };
        // The last lines may still be on their way.
        std::thread::sleep(Duration::from_millis(20));
        let lines = self.stderr.lock().map(|l| l.iter().map(|l| l.trim().to_string()).collect());
        match most_telling(&lines.unwrap_or_else(|_| Vec::new())) {
            Some(line) => self.failed(&format!("{how}: {line}")),
            None => self.failed(&how),
        }
    }

    /// Returns the error of a step that failed because of `why`.
    fn failed(&self, why: &str) -> Error {
        Error::Unavailable(format!("failed to run the staging step {}: {why}", self.name))
    }
}

/// Returns the error of a step that reports an event that is not expected at that time.
#[must_use]
pub fn unexpected() -> Error {
    Error::Unavailable("failed to stage: the staging step reported an unexpected event".into())
}

/// Chooses the line that most likely says what went wrong: the first line from `pyshm-bcast`. If there is none, the
/// first line with a word such as "error" in it. If there is none either, the first line.
fn most_telling(lines: &[String]) -> Option<String> {
    let has_text = |l: &&String| l.chars().any(char::is_alphanumeric);
    let lines: Vec<&String> = lines.iter().filter(has_text).collect();
    let ours = lines.iter().find(|l| l.starts_with("pyshm-bcast:"));
    let telling = |l: &&&String| {
        let l = l.to_lowercase();
        l.contains("error") || l.contains("fail") || l.contains("cannot") || l.contains("not found")
    };
    let line = ours.or_else(|| lines.iter().find(telling)).or(lines.first())?;
    Some((*line).clone())
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_that_does_not_notice_that_its_processes_ended_is_given_up() {
        let inbox = Inbox::open().unwrap();
        // Nobody waits for the `true` in the background, so it stays a zombie. The `sleep` keeps the step's output
        // open.
        let mut command = Command::new("sh");
        command.args(["-c", "true & exec sleep 100"]);
        let mut step = Step::launch(command, &inbox, Stderr::Kept).unwrap();
        let error = step.wait(&inbox, None).unwrap_err().to_string();
        assert!(error.contains("all its processes ended"), "{error}");
        assert!(step.has_ended());
    }

    #[test]
    fn the_most_telling_line_is_shown() {
        let lines = |t: &[&str]| t.iter().map(|l| (*l).to_string()).collect::<Vec<_>>();
        let said = lines(&["-----", "hello", "ssh: fatal error", "pyshm-bcast: no"]);
        assert_eq!(most_telling(&said).unwrap(), "pyshm-bcast: no");
        assert_eq!(most_telling(&said[..3]).unwrap(), "ssh: fatal error");
        assert_eq!(most_telling(&said[..2]).unwrap(), "hello");
        assert_eq!(most_telling(&said[..1]), None);
    }
}
