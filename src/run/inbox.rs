//! Collects everything that `pyshm-run` waits for in one queue: signals, the end of a child, events of staging steps.
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

/// A message in the queue.
#[derive(Debug)]
pub enum Message {
    /// This process received a signal.
    Signal(i32, Origin),
    /// The [signal probe](crate::run::command::signal_probe) received a signal.
    ProbeSignal(i32),
    /// A child ended or stopped.
    Child,
    /// The step with this number wrote an event.
    Step(u32, Event),
    /// The step with this number closed its output.
    Closed(u32),
}

/// The origin of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A process sent the signal.
    Process,
    /// The kernel sent the signal, for example because of a key on the terminal. The command receives such a signal
    /// too.
    Kernel,
}

/// The queue of messages, with a sender for the threads that put messages into it.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<Message>,
    sender: Sender<Message>,
}

impl Inbox {
    /// Makes the queue and begins to handle signals. Signals that were ignored when this process began (`nohup`) stay
    /// ignored, for the command too.
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
                    signal => Message::Signal(
                        signal,
                        match origin.cause {
                            Cause::Sent(_) => Origin::Process,
                            _ => Origin::Kernel,
                        },
                    ),
                };
                if to.send(message).is_err() {
                    break;
                }
            }
        });
        Ok(Self { receiver, sender })
    }

    /// Returns a sender for threads that put messages into the queue.
    #[must_use]
    pub fn sender(&self) -> Sender<Message> {
        self.sender.clone()
    }

    /// Waits for the next message; `None` when none comes within `limit`.
    #[must_use]
    pub fn next(&self, limit: Duration) -> Option<Message> {
        // The queue cannot be disconnected, since this inbox has a sender itself.
        self.receiver.recv_timeout(limit).ok()
    }

    /// Takes all messages that have arrived and returns the first signal among them that ends a job.
    #[must_use]
    pub fn ended(&self) -> Option<i32> {
        std::iter::from_fn(|| self.receiver.try_recv().ok()).find_map(|message| match message {
            Message::Signal(signal, _) if ENDING.contains(&signal) => Some(signal),
            _ => None,
        })
    }
}

/// Reads the mask of signals that this process ignores.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
