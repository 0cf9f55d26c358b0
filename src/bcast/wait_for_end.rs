//! Sleeping while the job runs: a few microseconds of processor time a second, until rank 0 is told to end.
#![forbid(unsafe_code)]

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mpi::request::scope;
use mpi::traits::{Communicator, Root};

use crate::bcast::leaders::Leaders;
use crate::protocol::events::Event;

/// How often the others look whether rank 0 was told.
const LOOK: Duration = Duration::from_millis(80);

/// Whether rank 0 was told to end: its standard input has ended, or said `purge`.
#[derive(Clone, Default)]
pub(super) struct Ending {
    told: Arc<AtomicBool>,
    /// By a word, so that whoever said it still listens.
    by_word: Arc<AtomicBool>,
}

impl Ending {
    /// Begins to watch the standard input, on rank 0 only: what launchers give to the others has ended already.
    pub fn watch(root: bool) -> Self {
        let ending = Self::default();
        if root {
            let ending = ending.clone();
            std::thread::spawn(move || {
                let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
                let word = lines.any(|line| line.trim() == "purge");
                ending.by_word.store(word, Ordering::Release);
                ending.told.store(true, Ordering::Release);
            });
        }
        ending
    }

    /// Says something to pyshm-run, unless that is gone: then it would end the launcher, which has nowhere to put it,
    /// and with it the other nodes' processes before they have cleaned up.
    pub fn say(&self, event: &Event) {
        if !self.is_told() || self.by_word.load(Ordering::Acquire) {
            event.say();
        }
    }

    /// Whether it has happened.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }
}

/// Sleeps until rank 0 is told to end.
pub(super) fn until_told(leaders: &Leaders, ending: &Ending) {
    let root = leaders.comm.process_at_rank(0);
    if leaders.is_root() {
        while !ending.is_told() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let mut word = 1u8;
    scope(|scope| {
        let mut request = root.immediate_broadcast_into(scope, &mut word);
        while let Err(waiting) = request.test() {
            request = waiting;
            std::thread::sleep(LOOK);
        }
    });
}
