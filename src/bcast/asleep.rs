//! Sleeping while the job runs: a few microseconds of processor time a second, until rank 0 is told to end.
#![forbid(unsafe_code)]

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mpi::request::scope;
use mpi::traits::{Communicator, Root};

use super::leaders::Leaders;

/// How often the others look whether rank 0 was told.
const LOOK: Duration = Duration::from_millis(80);

/// Whether rank 0 was told to end: its standard input has ended, or said `purge`.
pub(super) struct Ending {
    told: Arc<AtomicBool>,
}

impl Ending {
    /// Begins to watch the standard input, on rank 0 only: what launchers give to the others has ended already.
    pub fn watch(root: bool) -> Self {
        let told = Arc::new(AtomicBool::new(false));
        if root {
            let told = told.clone();
            std::thread::spawn(move || {
                let lines = std::io::stdin().lock().lines().map_while(Result::ok);
                for line in lines {
                    if line.trim() == "purge" {
                        break;
                    }
                }
                told.store(true, Ordering::Release);
            });
        }
        Self { told }
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
