//! Sleeps while the job runs, until rank 0 is told to end. Sleeping takes a few microseconds of processor time a
//! second.
#![forbid(unsafe_code)]

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mpi::request::scope;
use mpi::traits::{Communicator, Root};

use crate::bcast::leaders::Leaders;
use crate::protocol::events::Event;

/// How often the other ranks check whether rank 0 was told to end.
const INTERVAL: Duration = Duration::from_millis(80);

/// Whether rank 0 was told to end: its standard input has ended, or had the line `purge`.
#[derive(Clone, Default)]
pub(super) struct Ending {
    told: Arc<AtomicBool>,
    /// Whether rank 0 was told by the line `purge`. Then `pyshm-run` still listens.
    by_line: Arc<AtomicBool>,
}

impl Ending {
    /// Begins to watch the standard input if this `is_root`. Launchers give the other ranks an input that has ended
    /// already.
    pub fn watch(is_root: bool) -> Self {
        let ending = Self::default();
        if is_root {
            let ending = ending.clone();
            std::thread::spawn(move || {
                let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
                let by_line = lines.any(|line| line.trim() == "purge");
                ending.by_line.store(by_line, Ordering::Release);
                ending.told.store(true, Ordering::Release);
            });
        }
        ending
    }

    /// Reports an event to `pyshm-run`. If `pyshm-run` is gone, nothing is reported: the launcher could not pass the
    /// line on and would end, and its end would stop the processes on the other nodes before they have cleaned up.
    pub fn say(&self, event: &Event) {
        if !self.is_told() || self.by_line.load(Ordering::Acquire) {
            event.say();
        }
    }

    /// Whether rank 0 was told to end; always `false` on other ranks.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }
}

/// Sleeps until rank 0 is told to end. All leaders call this together.
pub(super) fn until_told(leaders: &Leaders, ending: &Ending) {
    let root = leaders.comm.process_at_rank(0);
    if leaders.is_root() {
        while !ending.is_told() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let mut told = 1u8;
    scope(|scope| {
        let mut request = root.immediate_broadcast_into(scope, &mut told);
        while let Err(waiting) = request.test() {
            request = waiting;
            std::thread::sleep(INTERVAL);
        }
    });
}
