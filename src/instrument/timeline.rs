//! Records when this process was in which phase of staging (`--timeline`).
//!
//! Staging is a pipeline: bytes are read and broadcast while earlier bytes are decompressed and written. For each phase
//! the timeline has the seconds that all threads together spent in it, and when it was first entered and last left. A
//! process stages once, so there is one timeline. A phase reads the clock twice for each frame or chunk.
#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// A phase of staging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading a bundle.
    Read,
    /// Broadcasting chunks among the leaders.
    Broadcast,
    /// Decompressing frames and checking their digests.
    Decode,
    /// Creating and writing files.
    Write,
    /// Creating links, editing search paths, writing the index, and publishing.
    Publish,
}

/// The names of the phases, in their order.
const NAMES: [&str; 5] = ["read", "broadcast", "decode", "write", "publish"];

struct Clock {
    /// Nanoseconds that all threads together spent in the phase.
    busy: AtomicU64,
    /// Nanoseconds from the beginning until a thread first entered the phase, and until a thread last left it.
    from: AtomicU64,
    until: AtomicU64,
}

static BEGUN: OnceLock<Instant> = OnceLock::new();
static CLOCKS: [Clock; 5] = [const {
    Clock { busy: AtomicU64::new(0), from: AtomicU64::new(u64::MAX), until: AtomicU64::new(0) }
}; 5];

/// Begins the timeline, unless it has begun already.
pub fn begin() {
    let _ = nanoseconds();
}

fn nanoseconds() -> u64 {
    u64::try_from(BEGUN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A thread's time in a phase, which ends when this value is dropped.
#[derive(Debug)]
#[must_use]
pub struct Busy {
    phase: Phase,
    since: u64,
}

/// Makes the calling thread enter `phase`.
pub fn busy(phase: Phase) -> Busy {
    let since = nanoseconds();
    CLOCKS[phase as usize].from.fetch_min(since, Ordering::Relaxed);
    Busy { phase, since }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let (now, clock) = (nanoseconds(), &CLOCKS[self.phase as usize]);
        clock.busy.fetch_add(now.saturating_sub(self.since), Ordering::Relaxed);
        clock.until.fetch_max(now, Ordering::Relaxed);
    }
}

/// The times of one phase, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Time that all threads together spent in the phase.
    pub busy: f64,
    /// Time from the beginning until the phase was first entered.
    pub from: f64,
    /// Time from the beginning until the phase was last left.
    pub until: f64,
}

/// The times of the phases on one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The node's name.
    pub node: String,
    /// The times in the order of [`Phase`]; `None` for a phase that was never entered.
    pub phases: [Option<Span>; 5],
}

impl Times {
    /// Returns the times of this process so far.
    #[must_use]
    pub fn now() -> Self {
        let seconds = |clock: &AtomicU64| clock.load(Ordering::Relaxed) as f64 / 1e9;
        let span = |clock: &Clock| {
            let entered = clock.from.load(Ordering::Relaxed) != u64::MAX;
            entered.then(|| Span {
                busy: seconds(&clock.busy),
                from: seconds(&clock.from),
                until: seconds(&clock.until),
            })
        };
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { node, phases: CLOCKS.each_ref().map(span) }
    }
}

/// Formats the times of all nodes as a table for users, with a line for each node.
#[must_use]
pub fn table(nodes: &[Times]) -> String {
    let width = nodes.iter().map(|times| times.node.len()).max().unwrap_or(0).max(4);
    let mut text = format!("{:width$}", "node");
    for name in NAMES {
        text += &format!("  {name:<22}");
    }
    text = format!("{}\n", text.trim_end());
    for times in nodes {
        let mut line = format!("{:width$}", times.node);
        for span in times.phases {
            let cell = span.map_or("-".to_string(), |s| {
                format!("{:.2} s ({:.2} to {:.2})", s.busy, s.from, s.until)
            });
            line += &format!("  {cell:<22}");
        }
        text += &format!("{}\n", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_counts_all_its_threads_and_its_beginning_and_end() {
        begin();
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    let _busy = busy(Phase::Decode);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                });
            }
        });
        let times = Times::now();
        let decode = times.phases[Phase::Decode as usize].unwrap();
        assert!(decode.busy >= 0.04 && decode.from < decode.until, "{decode:?}");
        assert_eq!(times.phases[Phase::Broadcast as usize], None);
        let text = table(&[times]);
        assert!(text.starts_with("node") && text.lines().count() == 2, "{text}");
    }
}
