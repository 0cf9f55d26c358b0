//! A staging step: a process that stages, says so on its standard output, sleeps while the command runs, and purges
//! when its standard input ends. It is `pyshm-bcast` under a launcher, or a helper of ours on this node.
#![forbid(unsafe_code)]

pub mod helper;
pub mod hung_launcher;

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
use crate::run::step::hung_launcher::Deserted;

/// Lines of a step's standard error that are kept for the message when it fails.
const KEPT_LINES: usize = 20;
/// How often a silent launcher is looked at.
pub const LOOK: Duration = Duration::from_millis(500);

/// How long a step may take to let go of the stage on all nodes: a busy one takes its time to remove some gigabytes. Less
/// than the half of a minute that resource managers give a job that they end.
const LETTING_GO: Duration = Duration::from_secs(20);
/// The same where somebody wants it all to end.
const HURRIED: Duration = Duration::from_secs(5);

/// How a step has ended.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// Operations that were answered locally and that were passed, if it said so.
    pub counted: Option<(u64, u64)>,
    /// It has cleaned up on every node.
    pub clean: bool,
}

/// A running step.
#[derive(Debug)]
pub struct Step {
    number: u32,
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    /// Whether it leads a process group of its own.
    group: bool,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Step {
    /// Starts `command` under a launcher, in a process group of its own, so that Ctrl-C on the terminal does not end
    /// it before it can purge. Its standard error is kept for messages, or shown with `verbose`.
    ///
    /// # Errors
    /// [`Error::CannotRun`] when it cannot be started.
    pub fn launch(mut command: Command, inbox: &Inbox, verbose: bool) -> Result<Self> {
        command.process_group(0).stderr(Stdio::piped());
        let mut step = Self::start(command, inbox, true)?;
        let said = step.said.clone();
        if let Some(stderr) = step.child.stderr.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(std::io::Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if verbose {
                        warn_line!("{line}");
                    }
                    let Ok(mut said) = said.lock() else { break };
                    said.push_back(line);
                    if said.len() > KEPT_LINES {
                        said.pop_front();
                    }
                }
            });
        }
        Ok(step)
    }

    /// Starts a helper on this node, which shows its progress itself.
    ///
    /// # Errors
    /// As [`Step::launch`].
    pub fn help(command: Command, inbox: &Inbox) -> Result<Self> {
        Self::start(command, inbox, false)
    }

    fn start(mut command: Command, inbox: &Inbox, group: bool) -> Result<Self> {
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
                let _ = to.send(Message::Silent(number));
            });
        }
        Ok(Self { number, name, child, stdin, group, said: Arc::default() })
    }

    /// Waits for what the step says next; `limit` is for a step that says nothing at all.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when a signal ends it all, after the step has ended; [`Error::Reported`] what the step
    /// says of its failure; [`Error::Unavailable`] when it ends without a word.
    pub fn wait(&mut self, inbox: &Inbox, limit: Option<Duration>) -> Result<Event> {
        let begun = Instant::now();
        let mut deserted = Deserted::default();
        loop {
            let left = limit.map_or(LOOK, |l| l.saturating_sub(begun.elapsed()));
            match inbox.next(left.min(LOOK)) {
                Some(Message::Signal(signal, _)) if ENDING.contains(&signal) => {
                    self.stop();
                    return Err(Error::Interrupted(signal));
                }
                Some(Message::Step(number, event)) if number == self.number => match event {
                    Event::Failed(failure) => return Err(failure.into()),
                    event => return Ok(event),
                },
                Some(Message::Silent(number)) if number == self.number => {
                    return Err(self.ended_early());
                }
                None if limit.is_some_and(|l| begun.elapsed() >= l) => {
                    self.stop();
                    let seconds = begun.elapsed().as_secs();
                    let name = &self.name;
                    let text = format!(
                        "the staging step {name} said nothing for {seconds} s (PYSHM_WAIT)"
                    );
                    return Err(Error::Unavailable(text));
                }
                None if self.group && deserted.look(self.child.id()) => {
                    self.stop();
                    let name = &self.name;
                    let text = format!("the staging step {name}: all its processes ended");
                    return Err(Error::Unavailable(text));
                }
                None => {}
                Some(_) => deserted.forget(),
            }
        }
    }

    /// Ends the step as it should end: it lets go of the stage on every node.
    pub fn finish(mut self, inbox: &Inbox) -> Finished {
        self.tell();
        let (mut limit, mut look) = (LETTING_GO, LOOK);
        let begun = Instant::now();
        let mut deserted = Deserted::default();
        let mut counted = None;
        while begun.elapsed() < limit {
            match inbox.next(Duration::from_millis(20)) {
                Some(Message::Step(number, Event::Purged { answered, passed }))
                    if number == self.number =>
                {
                    counted = Some((answered, passed));
                }
                Some(Message::Silent(number)) if number == self.number => break,
                Some(Message::Signal(signal, _)) if ENDING.contains(&signal) => limit = HURRIED,
                _ if self.has_ended() => break,
                _ => {}
            }
            if self.group && begun.elapsed() >= look {
                look += LOOK;
                if deserted.look(self.child.id()) {
                    break;
                }
            }
        }
        let by_itself = self.kill_after(Duration::from_secs(2));
        Finished { counted, clean: by_itself && (counted.is_some() || !self.group) }
    }

    /// Ends the step at once, within some four seconds; it still cleans up behind itself. Returns whether it has ended
    /// by itself.
    pub fn stop(&mut self) -> bool {
        self.tell();
        // A helper answers a signal; a launcher's processes can only clean up before the launcher ends them.
        if !self.group {
            self.signal(Signal::TERM);
        }
        self.ends_within(Duration::from_millis(2500))
            || self.kill_after(Duration::from_millis(1500))
    }

    /// Says that it is to end; with a word, since some launchers do not hand on that their input has ended.
    fn tell(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.write_all(b"purge\n").and_then(|()| stdin.flush());
        }
    }

    /// Ends it by force where it does not end; returns whether none was needed.
    fn kill_after(&mut self, limit: Duration) -> bool {
        if self.ends_within(Duration::from_millis(200)) {
            return true;
        }
        self.signal(Signal::TERM);
        if !self.ends_within(limit) {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        false
    }

    fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.child.id() as i32) else { return };
        let _ =
            if self.group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
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

    /// Says how a step ended that should not have.
    fn ended_early(&mut self) -> Error {
        if !self.ends_within(Duration::from_secs(2)) {
            self.kill_after(Duration::from_secs(1));
        }
        let how = match self.child.try_wait() {
            Ok(Some(status)) => match status.signal() {
                Some(signal) => format!("was ended by signal {signal}"),
                None => format!("ended with code {}", status.code().unwrap_or_default()),
            },
            _ => "closed its output".into(),
        };
        // What it wrote last may still be on its way.
        std::thread::sleep(Duration::from_millis(20));
        let said = self
            .said
            .lock()
            .map(|said| said.iter().map(|l| l.trim().to_string()).collect::<Vec<_>>());
        let said = first_telling(&said.unwrap_or_default());
        let name = &self.name;
        Error::Unavailable(match said {
            Some(line) => format!("the staging step {name} {how}: {line}"),
            None => format!("the staging step {name} {how}"),
        })
    }
}

/// The line that most likely says what went wrong: ours, else the first with "error" or "fail" in it, else the first.
fn first_telling(lines: &[String]) -> Option<String> {
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
        // Nobody waits for what `true` leaves; the input stays open.
        let mut command = Command::new("sh");
        command.args(["-c", "true & exec sleep 100"]);
        let mut step = Step::launch(command, &inbox, false).unwrap();
        let error = step.wait(&inbox, None).unwrap_err().to_string();
        assert!(error.contains("all its processes ended"), "{error}");
        assert!(step.has_ended());
    }

    #[test]
    fn the_most_telling_line_is_shown() {
        let lines = |t: &[&str]| t.iter().map(|l| (*l).to_string()).collect::<Vec<_>>();
        let said = lines(&["-----", "hello", "ssh: fatal error", "pyshm-bcast: no"]);
        assert_eq!(first_telling(&said).unwrap(), "pyshm-bcast: no");
        assert_eq!(first_telling(&said[..3]).unwrap(), "ssh: fatal error");
        assert_eq!(first_telling(&said[..2]).unwrap(), "hello");
        assert_eq!(first_telling(&said[..1]), None);
    }
}
