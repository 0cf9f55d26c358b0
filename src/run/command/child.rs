//! The user's command: started with the standard streams and the environment that pyshm-run got, but for what
//! [`crate::launchers::launch_env`] says of pyshm, waited for, and imitated in how it ended.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::error::{Error, Result};
use crate::process::signals::ENDING;
use crate::run::command::signal_probe::{Undecided, Witness};
use crate::run::inbox::{Inbox, Message};
use crate::run::step::LOOK;
use crate::run::step::hung_launcher::Deserted;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this code.
    Code(u8),
    /// By this signal.
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
    #[must_use]
    pub fn imitate(self) -> ExitCode {
        match self {
            Self::Code(code) => code.into(),
            Self::Signal(signal) => {
                // The command has left its core file, if it was to leave one.
                let limit = getrlimit(Resource::Core);
                let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit });
                let _ = signal_hook::low_level::emulate_default_handler(signal);
                // A signal without a default that ends a process.
                128u8.wrapping_add(signal as u8).into()
            }
        }
    }
}

/// Runs `command` to its end. Signals that a process sends to this one alone are forwarded; those of the terminal, and
/// what all of a step or of a process group is sent, reach the command by themselves. A `launcher` that a signal was to end, and that does
/// not notice that its processes have ended, is ended by force: else nothing would be cleaned up.
///
/// # Errors
/// [`Error::CommandNotFound`] or [`Error::NotExecutable`] when it cannot be started.
pub fn run(command: &mut Command, launcher: bool, inbox: &Inbox) -> Result<Ended> {
    if let Some(signal) = inbox.ended() {
        return Ok(Ended::Signal(signal));
    }
    let name = command.get_program().to_string_lossy().into_owned();
    let witness = Witness::start(inbox);
    let mut child = command.spawn().map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Error::CommandNotFound(name),
        _ => Error::NotExecutable { command: name, cause },
    })?;
    let (mut ending, mut deserted, mut undecided) =
        (None, Deserted::default(), Undecided::default());
    loop {
        if let Some(status) = child.try_wait().map_err(Error::system("wait for the command"))? {
            return Ok(status.into());
        }
        // A lost SIGCHLD would otherwise be waited for without end.
        let wait = undecided.wait(Instant::now(), LOOK);
        let message = inbox.next(wait);
        let now = Instant::now();
        if let Some(signal) = undecided.take_mine(now) {
            send(&child, signal);
        }
        match message {
            Some(Message::Signal(signal, sent)) => {
                ending = ending.or_else(|| ENDING.contains(&signal).then_some(signal));
                match &witness {
                    _ if !sent => {}
                    Some(_) => undecided.came(signal, now),
                    None => send(&child, signal),
                }
            }
            Some(Message::Witnessed(signal)) => undecided.witnessed(signal, now),
            Some(_) => {}
            None if wait < LOOK => {}
            None => {
                if let (true, Some(signal)) = (launcher, ending)
                    && deserted.look(child.id())
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
