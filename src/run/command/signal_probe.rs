//! Whether a signal that reached this process has reached the command as well.
//!
//! Slurm signals every process of a step, Hydra and Open MPI a process group, `kill` a process alone. Nothing in a signal
//! says which it was; handed on to a command that has it already, it would be there twice. So a process that does nothing
//! else stands beside the command, in the same group, session and step: what that one was sent, the command was sent too.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::process::signals::FORWARDED;
use crate::run::inbox::{Inbox, Message};

/// The first argument that makes `pyshm-run` a witness.
pub const ARGUMENT: &str = "__witness";
/// How far apart a signal may arrive at two processes to which it was sent together.
const TOGETHER: Duration = Duration::from_millis(250);

/// The process beside the command; it ends with this value.
#[derive(Debug)]
pub struct Witness {
    stdin: Option<ChildStdin>,
    reading: Option<JoinHandle<()>>,
}

impl Witness {
    /// Starts it; it tells `inbox` what it was sent. `None` where it cannot be started.
    pub fn start(inbox: &Inbox) -> Option<Self> {
        // By this name it is found without a look-up on a shared file system. What the user preloads is for the command.
        let mut command = Command::new("/proc/self/exe");
        command.arg(ARGUMENT).env_remove("LD_PRELOAD");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        let stdin = process.stdin.take();
        let to = inbox.sender();
        let reading = std::thread::spawn(move || {
            for signal in said(&mut process) {
                let _ = to.send(Message::Witnessed(signal));
            }
            // One that came before it could handle any has ended it.
            let ended_by = process.wait().ok().and_then(|status| status.signal());
            if let Some(signal) = ended_by {
                let _ = to.send(Message::Witnessed(signal));
            }
        });
        Some(Self { stdin, reading: Some(reading) })
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Some(reading) = self.reading.take() {
            let _ = reading.join();
        }
    }
}

fn said(process: &mut Child) -> impl Iterator<Item = i32> {
    let lines = process.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines());
    lines.map_while(Result::ok).filter_map(|line| line.parse().ok())
}

/// The witness's whole life: until its standard input ends, which also happens when whoever started it is gone.
pub fn main() -> ExitCode {
    let Ok(mut arriving) = signal_hook::iterator::Signals::new(FORWARDED) else {
        return ExitCode::FAILURE;
    };
    std::thread::spawn(move || {
        let mut out = std::io::stdout();
        for signal in arriving.forever() {
            if writeln!(out, "{signal}").and_then(|()| out.flush()).is_err() {
                break;
            }
        }
    });
    let _ = std::io::stdin().read(&mut [0]);
    ExitCode::SUCCESS
}

/// Signals that reached this process or the witness, until it is known whether they reached both.
#[derive(Debug, Default)]
pub struct Undecided {
    mine: Vec<(i32, Instant)>,
    witnessed: Vec<(i32, Instant)>,
}

impl Undecided {
    /// This process was sent `signal` at `now`.
    pub fn came(&mut self, signal: i32, now: Instant) {
        match self.witnessed.iter().position(|(s, _)| *s == signal) {
            Some(at) => drop(self.witnessed.remove(at)),
            None => self.mine.push((signal, now)),
        }
    }

    /// The witness was sent `signal`; this process heard of it at `now`.
    pub fn witnessed(&mut self, signal: i32, now: Instant) {
        match self.mine.iter().position(|(s, _)| *s == signal) {
            Some(at) => drop(self.mine.remove(at)),
            None => self.witnessed.push((signal, now)),
        }
    }

    /// Takes a signal that was sent to this process alone, and so has to be handed on.
    pub fn take_mine(&mut self, now: Instant) -> Option<i32> {
        let is_old = |(_, came): &(i32, Instant)| now.duration_since(*came) >= TOGETHER;
        // What a terminal sends to all is not asked about.
        self.witnessed.retain(|entry| !is_old(entry));
        let at = self.mine.iter().position(is_old)?;
        Some(self.mine.remove(at).0)
    }

    /// How long to wait for more, `limit` at most.
    #[must_use]
    pub fn wait(&self, now: Instant, limit: Duration) -> Duration {
        let left = |(_, came): &(i32, Instant)| TOGETHER.saturating_sub(now.duration_since(*came));
        self.mine.iter().map(left).min().map_or(limit, |left| left.min(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_reached_both_is_not_handed_on() {
        let (begun, mut undecided) = (Instant::now(), Undecided::default());
        undecided.came(10, begun);
        undecided.witnessed(10, begun);
        undecided.witnessed(12, begun);
        undecided.came(12, begun);
        assert_eq!(undecided.take_mine(begun + TOGETHER), None);
    }

    #[test]
    fn one_that_reached_this_process_alone_is_handed_on_once() {
        let (begun, mut undecided) = (Instant::now(), Undecided::default());
        undecided.came(10, begun);
        undecided.witnessed(12, begun);
        assert_eq!(undecided.take_mine(begun), None);
        assert_eq!(undecided.wait(begun, 2 * TOGETHER), TOGETHER);
        assert_eq!(undecided.take_mine(begun + TOGETHER), Some(10));
        assert_eq!(undecided.take_mine(begun + TOGETHER), None);
    }

    #[test]
    fn each_of_several_has_a_witness_of_its_own() {
        let (begun, mut undecided) = (Instant::now(), Undecided::default());
        undecided.came(10, begun);
        undecided.came(10, begun);
        undecided.witnessed(10, begun);
        assert_eq!(undecided.take_mine(begun + TOGETHER), Some(10));
        assert_eq!(undecided.take_mine(begun + TOGETHER), None);
    }

    #[test]
    fn what_only_the_witness_was_sent_is_forgotten() {
        let (begun, mut undecided) = (Instant::now(), Undecided::default());
        undecided.witnessed(10, begun);
        assert_eq!(undecided.take_mine(begun + TOGETHER), None);
        undecided.came(10, begun + TOGETHER);
        assert_eq!(undecided.take_mine(begun + 2 * TOGETHER), Some(10));
    }
}
