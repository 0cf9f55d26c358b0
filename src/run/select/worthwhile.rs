//! Whether staging can pay.
//!
//! A serial start reads some tens of megabytes of an environment, whatever its size, and each further rank of a node
//! finds most of that in the node's cache. Staging reads and writes everything once on each node. What is far larger
//! than all that the ranks will read is not worth it.
#![forbid(unsafe_code)]

use crate::settings;
use crate::text::bytes;

/// A bundle may be so many times larger than what all ranks read.
pub const FACTOR: u64 = 64;

/// Why staging `unpacked` bytes cannot pay for `ranks` ranks that read `serial_read` bytes each; `None` if it can.
#[must_use]
pub fn decline(unpacked: u64, serial_read: u64, ranks: usize) -> Option<String> {
    let limit = FACTOR.saturating_mul(serial_read).saturating_mul(ranks.max(1) as u64);
    (unpacked > limit).then(|| {
        format!(
            "staging {} cannot pay for {ranks} ranks that read about {} each (the limit is {}; set PYSHM_SERIAL_READ, or \
             name the bundle with -b)",
            bytes(unpacked),
            bytes(serial_read),
            bytes(limit)
        )
    })
}

/// What one rank reads at its start, in bytes, as the settings say.
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
        assert_eq!(decline(GIB, SERIAL_READ, 1), None);
        assert_eq!(decline(4 * GIB, SERIAL_READ, 1), None);
    }

    #[test]
    fn what_is_far_larger_than_what_ranks_read_is_declined_with_the_numbers() {
        let why = decline(4 * GIB + 1, SERIAL_READ, 1).unwrap();
        assert!(why.contains("4.3 GB") && why.contains("PYSHM_SERIAL_READ"), "{why}");
        assert_eq!(decline(4 * GIB + 1, SERIAL_READ, 2), None);
        assert!(decline(GIB, 1 << 20, 8).is_some());
    }
}
