//! Finds out whether a signal that reached this process has reached the command as well.
//!
//! Slurm signals every process of a step, Hydra and Open MPI signal a process group, `kill` signals one process. A
//! signal does not tell to which processes it was sent, and the command must not receive it twice. So a second process,
//! the probe, runs beside the command in the same group, session and step. A signal that the probe receives has reached
//! the command too.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::process::signals::FORWARDED;
use crate::run::inbox::{Inbox, Message};

/// The first argument that makes `pyshm-run` a probe.
pub const ARGUMENT: &str = "__signal_probe";
/// Maximum time between the arrivals of a signal at the probe and at this process, if it was sent to both.
const TOGETHER: Duration = Duration::from_millis(250);

/// The probe. Its process ends when this value is dropped.
#[derive(Debug)]
pub struct SignalProbe {
    stdin: Option<ChildStdin>,
    reading: Option<JoinHandle<()>>,
}

impl SignalProbe {
    /// Starts the probe, which reports to `inbox` each signal that it receives. `None` if the probe cannot be started.
    pub fn start(inbox: &Inbox) -> Option<Self> {
        // `/proc/self/exe` needs no look-up on a shared file system. Libraries that the user preloads are for the
        // command only.
        let mut command = Command::new("/proc/self/exe");
        command.arg(ARGUMENT).env_remove("LD_PRELOAD");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        let stdin = process.stdin.take();
        let to = inbox.sender();
        let reading = std::thread::spawn(move || {
            for signal in reported(&mut process) {
                let _ = to.send(Message::ProbeSignal(signal));
            }
            // A signal that arrived before the probe had a handler has ended the probe, and is reported here.
            let ended_by = process.wait().ok().and_then(|status| status.signal());
            if let Some(signal) = ended_by {
                let _ = to.send(Message::ProbeSignal(signal));
            }
        });
        Some(Self { stdin, reading: Some(reading) })
    }
}

impl Drop for SignalProbe {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Some(reading) = self.reading.take() {
            let _ = reading.join();
        }
    }
}

/// The signals that the probe reports, until it ends.
fn reported(probe: &mut Child) -> impl Iterator<Item = i32> {
    let lines = probe.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines());
    lines.map_while(Result::ok).filter_map(|line| line.parse().ok())
}

/// Runs the probe: it reports signals on its standard output until its standard input ends, which also happens when
/// `pyshm-run` dies.
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

/// Pairs the signals that reached this process with those that reached the probe. A signal without a partner was sent
/// to this process alone and has to be forwarded.
#[derive(Debug, Default)]
pub struct SignalPairs {
    ours: Vec<(i32, Instant)>,
    probes: Vec<(i32, Instant)>,
}

impl SignalPairs {
    /// Notes that this process received `signal` at `now`.
    pub fn reached_us(&mut self, signal: i32, now: Instant) {
        match self.probes.iter().position(|(s, _)| *s == signal) {
            Some(at) => drop(self.probes.remove(at)),
            None => self.ours.push((signal, now)),
        }
    }

    /// Notes that the probe reported `signal` at `now`.
    pub fn reached_probe(&mut self, signal: i32, now: Instant) {
        match self.ours.iter().position(|(s, _)| *s == signal) {
            Some(at) => drop(self.ours.remove(at)),
            None => self.probes.push((signal, now)),
        }
    }

    /// Takes a signal that was sent to this process alone.
    pub fn take_ours_alone(&mut self, now: Instant) -> Option<i32> {
        let is_old = |(_, came): &(i32, Instant)| now.duration_since(*came) >= TOGETHER;
        // The probe also reports signals of a terminal, for which this process adds no partner. These reports are
        // dropped when they are old.
        self.probes.retain(|entry| !is_old(entry));
        let at = self.ours.iter().position(is_old)?;
        Some(self.ours.remove(at).0)
    }

    /// Returns how long to wait until the next signal is known to be without a partner, at most `limit`.
    #[must_use]
    pub fn wait(&self, now: Instant, limit: Duration) -> Duration {
        let left = |(_, came): &(i32, Instant)| TOGETHER.saturating_sub(now.duration_since(*came));
        self.ours.iter().map(left).min().map_or(limit, |left| left.min(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_reached_both_is_not_forwarded() {
        let (begun, mut pairs) = (Instant::now(), SignalPairs::default());
        pairs.reached_us(10, begun);
        pairs.reached_probe(10, begun);
        pairs.reached_probe(12, begun);
        pairs.reached_us(12, begun);
        assert_eq!(pairs.take_ours_alone(begun + TOGETHER), None);
    }

    #[test]
    fn a_signal_that_reached_this_process_alone_is_forwarded_once() {
        let (begun, mut pairs) = (Instant::now(), SignalPairs::default());
        pairs.reached_us(10, begun);
        pairs.reached_probe(12, begun);
        assert_eq!(pairs.take_ours_alone(begun), None);
        assert_eq!(pairs.wait(begun, 2 * TOGETHER), TOGETHER);
        assert_eq!(pairs.take_ours_alone(begun + TOGETHER), Some(10));
        assert_eq!(pairs.take_ours_alone(begun + TOGETHER), None);
    }

    #[test]
    fn each_of_two_equal_signals_needs_its_own_partner() {
        let (begun, mut pairs) = (Instant::now(), SignalPairs::default());
        pairs.reached_us(10, begun);
        pairs.reached_us(10, begun);
        pairs.reached_probe(10, begun);
        assert_eq!(pairs.take_ours_alone(begun + TOGETHER), Some(10));
        assert_eq!(pairs.take_ours_alone(begun + TOGETHER), None);
    }

    #[test]
    fn a_signal_that_reached_only_the_probe_is_forgotten() {
        let (begun, mut pairs) = (Instant::now(), SignalPairs::default());
        pairs.reached_probe(10, begun);
        assert_eq!(pairs.take_ours_alone(begun + TOGETHER), None);
        pairs.reached_us(10, begun + TOGETHER);
        assert_eq!(pairs.take_ours_alone(begun + 2 * TOGETHER), Some(10));
    }
}
