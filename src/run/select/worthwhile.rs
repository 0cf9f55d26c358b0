//! Decides whether staging an automatically made bundle is worthwhile.
//!
//! A rank's start reads some tens of megabytes of an environment, whatever the environment's size. Each further rank of
//! a node finds most of these megabytes in the node's page cache. Staging writes the whole environment on each node. So
//! staging cannot pay if the environment is far larger than what all ranks read.
#![forbid(unsafe_code)]

use crate::settings;
use crate::text::bytes;

/// A bundle that is more than this many times larger than what all ranks read is not staged.
pub const FACTOR: u64 = 64;

/// Returns why staging `unpacked` bytes is not worthwhile for `ranks` ranks that read `serial_read` bytes each; `None`
/// if staging is worthwhile.
#[must_use]
pub fn why_not(unpacked: u64, serial_read: u64, ranks: usize) -> Option<String> {
    let limit = FACTOR.saturating_mul(serial_read).saturating_mul(ranks.max(1) as u64);
    (unpacked > limit).then(|| {
        format!(
            "staging {} cannot pay for {ranks} ranks that read about {} each (the limit is {}; set PYSHM_SERIAL_READ, or \
             name a bundle with -b)",
            bytes(unpacked),
            bytes(serial_read),
            bytes(limit)
        )
    })
}

/// Returns the setting for the bytes that one rank reads at its start.
#[must_use]
pub fn serial_read() -> u64 {
    settings::size(&settings::table::SERIAL_READ).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const SERIAL_READ: u64 = 64 << 20;

    #[test]
    fn an_environment_of_usual_size_is_staged_even_for_one_rank() {
        assert_eq!(why_not(GIB, SERIAL_READ, 1), None);
        assert_eq!(why_not(4 * GIB, SERIAL_READ, 1), None);
    }

    #[test]
    fn an_environment_far_larger_than_what_ranks_read_is_refused_with_the_numbers() {
        let why = why_not(4 * GIB + 1, SERIAL_READ, 1).unwrap();
        assert!(why.contains("4.3 GB") && why.contains("PYSHM_SERIAL_READ"), "{why}");
        assert_eq!(why_not(4 * GIB + 1, SERIAL_READ, 2), None);
        assert!(why_not(GIB, 1 << 20, 8).is_some());
    }
}
