//! Waits, before the files of a walked tree are read, until every later change of a file will give the file a new time.
//! From then on, a file whose time is unchanged is itself unchanged.
//!
//! A file system stamps changes with a clock of limited resolution, so a file that changes twice within one tick has
//! the same time after both changes. If the file is packed between the two changes, the bundle has the old data with
//! the current time, and no comparison of times ever shows that the data is old. If the file is read one tick *after*
//! its time was seen, this cannot happen: a later change gets a later time.
//!
//! Invariants: only the time between two moments of this node's monotonic clock counts. The clock of the file server is
//! never compared with the clock of this node.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::manifest::walk::WalkEntry;

/// Longer than one tick of a file system whose times are whole seconds (Lustre, ext3, small ext4 inodes) or two (FAT).
const WHOLE_SECONDS: Duration = Duration::from_millis(2100);
/// Longer than one tick of a kernel that stamps files with the time of its last timer interrupt (10 ms at 100 Hz).
const FRACTIONS: Duration = Duration::from_millis(50);

/// Returns when one tick has passed since `walked`, the moment at which the last of `found` was seen.
pub(super) fn wait_for_next_tick(found: &[WalkEntry], walked: Instant) {
    let changes = found.iter().map(|entry| (entry.stat.dev, entry.stat.ctime));
    thread::sleep(tick(changes).saturating_sub(walked.elapsed()));
}

/// Returns an upper bound of one tick, given the device and the change time of each file. The newest time of each
/// device tells whether its file system records fractions of a second.
fn tick(changes: impl Iterator<Item = (u64, (i64, u32))>) -> Duration {
    let mut newest = HashMap::new();
    for (device, change) in changes {
        let of_device = newest.entry(device).or_insert(change);
        *of_device = change.max(*of_device);
    }
    let is_whole = newest.values().any(|(_, nanoseconds)| *nanoseconds == 0);
    if is_whole { WHOLE_SECONDS } else { FRACTIONS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_with_whole_seconds_makes_the_tick_long() {
        let fine = [(1, (100, 5)), (1, (99, 0))];
        assert_eq!(tick(fine.into_iter()), FRACTIONS);
        let coarse = [(1, (100, 5)), (2, (100, 0)), (2, (98, 0))];
        assert_eq!(tick(coarse.into_iter()), WHOLE_SECONDS);
    }
}
