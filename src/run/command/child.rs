//! Runs the user's command to its end and ends `pyshm-run` in the same way.
//!
//! The command gets the standard streams and the environment that `pyshm-run` got, except for the variables by which
//! [`crate::launchers::launch_env`] informs the shim.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::error::{Error, Result};
use crate::process::signals::ENDING;
use crate::run::command::signal_probe::{SignalPairs, SignalProbe};
use crate::run::inbox::{Inbox, Message, Origin};
use crate::run::step::hung_launcher::{HangDetector, INTERVAL};

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The command exited with this code.
    Code(u8),
    /// This signal ended the command.
    Signal(i32),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Self::Signal(signal),
            None => Self::Code(status.code().unwrap_or(1) as u8),
        }
    }
}

impl Ended {
    /// Ends this process in the same way.
    fn imitate(self) -> ExitCode {
        match self {
            Self::Code(code) => code.into(),
            Self::Signal(signal) => {
                // The command has already left its core file, if any, so this process leaves none.
                let limit = getrlimit(Resource::Core);
                let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit });
                let _ = signal_hook::low_level::emulate_default_handler(signal);
                // This is reached only if the default action of the signal does not end a process.
                128u8.wrapping_add(signal as u8).into()
            }
        }
    }
}

/// Ends this process as the command ended, or prints why the command was not run.
#[must_use]
pub fn exit_like(ended: Result<Ended>) -> ExitCode {
    match ended {
        Ok(ended) => ended.imitate(),
        Err(Error::Interrupted(signal)) => Ended::Signal(signal).imitate(),
        Err(error) => {
            warn_line!("pyshm-run: {error}");
            error.exit_code().into()
        }
    }
}

/// What is watched while a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Only the command's end.
    Exit,
    /// The command's end, and whether the command, a launcher, hangs after a signal that should have ended it. A
    /// launcher that hangs is killed, since otherwise the stage would never be removed.
    HungLauncher,
}

/// Runs `command` to its end. A signal that a process sends to this process alone is forwarded to the command. Signals
/// of a terminal, and signals to a whole step or process group, reach the command directly.
///
/// # Errors
/// [`Error::CommandNotFound`] or [`Error::NotExecutable`] when the command cannot be started.
pub fn run(command: &mut Command, watch: Watch, inbox: &Inbox) -> Result<Ended> {
    if let Some(signal) = inbox.ended() {
        return Ok(Ended::Signal(signal));
    }
    let name = command.get_program().to_string_lossy().into_owned();
    let probe = SignalProbe::start(inbox);
    let mut child = command.spawn().map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Error::CommandNotFound(name),
        _ => Error::NotExecutable { command: name, cause },
    })?;
    let (mut ending, mut hang, mut pairs) = (None, HangDetector::default(), SignalPairs::default());
    loop {
        if let Some(status) = child.try_wait().map_err(Error::system("wait for the command"))? {
            return Ok(status.into());
        }
        // If a SIGCHLD is lost, the end of the child is noticed when this limit has passed.
        let wait = pairs.wait(Instant::now(), INTERVAL);
        let message = inbox.next(wait);
        let now = Instant::now();
        if let Some(signal) = pairs.take_ours_alone(now) {
            send(&child, signal);
        }
        match message {
            Some(Message::Signal(signal, origin)) => {
                ending = ending.or_else(|| ENDING.contains(&signal).then_some(signal));
                match (origin, &probe) {
                    (Origin::Kernel, _) => {}
                    (Origin::Process, Some(_)) => pairs.reached_us(signal, now),
                    (Origin::Process, None) => send(&child, signal),
                }
            }
            Some(Message::ProbeSignal(signal)) => pairs.reached_probe(signal, now),
            Some(_) => {}
            None if wait < INTERVAL => {}
            None => {
                if let (Watch::HungLauncher, Some(signal)) = (watch, ending)
                    && hang.look(child.id())
                {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Ok(Ended::Signal(signal));
                }
            }
        }
    }
}

fn send(child: &Child, signal: i32) {
    if let (Some(pid), Some(signal)) =
        (Pid::from_raw(child.id() as i32), Signal::from_named_raw(signal))
    {
        let _ = kill_process(pid, signal);
    }
}
