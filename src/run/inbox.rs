//! Everything that `pyshm-run` waits for comes through one queue: signals, its child's end, what staging steps say.
#![forbid(unsafe_code)]

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use crate::error::{Error, Result};
use crate::process::signals::{ENDING, FORWARDED};
use crate::protocol::events::Event;

/// What arrived.
#[derive(Debug)]
pub enum Message {
    /// A signal, and whether a process sent it to this one; a terminal's go to the command as well.
    Signal(i32, bool),
    /// A signal that the process beside the command was sent.
    Witnessed(i32),
    /// A child ended or changed.
    Child,
    /// A line of the step with this number.
    Step(u32, Event),
    /// The step with this number has closed its output.
    Silent(u32),
}

/// The queue.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<Message>,
    sender: Sender<Message>,
}

impl Inbox {
    /// Begins to handle signals. Those that were ignored when this process began stay so, for the command as well
    /// (`nohup`).
    ///
    /// # Errors
    /// [`Error::System`] when no handler can be installed.
    pub fn open() -> Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let ignored = ignored();
        let handled =
            FORWARDED.into_iter().filter(|s| ignored & (1 << (s - 1)) == 0).chain([SIGCHLD]);
        let failed = Error::system("handle signals");
        let mut signals = SignalsInfo::<WithOrigin>::new(handled).map_err(failed)?;
        let to = sender.clone();
        std::thread::spawn(move || {
            for origin in signals.forever() {
                let message = match origin.signal {
                    SIGCHLD => Message::Child,
                    signal => Message::Signal(signal, matches!(origin.cause, Cause::Sent(_))),
                };
                if to.send(message).is_err() {
                    break;
                }
            }
        });
        Ok(Self { receiver, sender })
    }

    /// For threads that put something into the queue.
    #[must_use]
    pub fn sender(&self) -> Sender<Message> {
        self.sender.clone()
    }

    /// The next message, or `None` when none comes within `limit`.
    #[must_use]
    pub fn next(&self, limit: Duration) -> Option<Message> {
        // It cannot be disconnected: this side holds a sender itself.
        self.receiver.recv_timeout(limit).ok()
    }

    /// An ending signal that has arrived already.
    #[must_use]
    pub fn ended(&self) -> Option<i32> {
        std::iter::from_fn(|| self.receiver.try_recv().ok()).find_map(|message| match message {
            Message::Signal(signal, _) if ENDING.contains(&signal) => Some(signal),
            _ => None,
        })
    }
}

/// The mask of signals that this process ignores.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
