//! Defines the stage's state file: marks of the paths that diverged from the snapshot, and counters of operations.
//!
//! The file is made with the stage: a header, and zeros. Every process of the node maps the file shared and writable.
//! Every word behind the header is a little-endian `u64` and is changed only by atomic operations.
//!
//! ```text
//! 0      magic "PYSHMST1"
//! 8      version u32
//! 64     number of marks in the diverged set
//! 128    number of SUBTREE marks
//! 192    1 when the set is full: then every operation passes
//! 2048   PROGRAMS words: 0, or the hash of a name (crate::outside_programs)
//! 4096   STRIPES counters of STRIPE_BYTES: words answered, passed
//! 8192   SLOTS words: 0 is free, anything else is the hash of a mark
//! ```
//!
//! A mark is `hash_path(path)` mixed with its [`Mark`]. Marks are never removed. If two marks have the same word, an
//! operation may pass to the shared file system without need.

use crate::{FormatError, u32_at, u64_at};

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"PYSHMST1";
/// The layout's version.
pub const VERSION: u32 = 2;
/// Offset of the number of marks.
pub const COUNT: usize = 64;
/// Offset of the number of [`Mark::Subtree`] marks.
pub const SUBTREES: usize = 128;
/// Offset of the word that is 1 when the set is full.
pub const FULL: usize = 192;
/// Offset of the table of programs that are known to lie outside every prefix.
pub const KNOWN_PROGRAMS: usize = 2048;
/// Number of words of that table; a power of two.
pub const PROGRAMS: usize = 256;
/// Offset of the counters.
pub const COUNTERS: usize = 4096;
/// Number of counter stripes. A process uses the stripe that its process ID selects, so that ranks rarely share cache
/// lines.
pub const STRIPES: usize = 64;
/// Bytes of one stripe, a cache line.
pub const STRIPE_BYTES: usize = 64;
/// Offset in a stripe of the number of operations that were answered from the stage or its index.
pub const ANSWERED: usize = 0;
/// Offset in a stripe of the number of operations under a prefix that passed to the shared file system.
pub const PASSED: usize = 8;
/// Offset of the diverged set.
pub const SET: usize = 8192;
/// Number of words of the diverged set; a power of two.
pub const SLOTS: usize = 1 << 16;
/// Size of the file in bytes.
pub const FILE_BYTES: usize = SET + SLOTS * 8;

/// The outcome of an operation under a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The operation was answered from the stage or its index.
    Answered,
    /// The operation passed to the shared file system.
    Passed,
}

impl Operation {
    /// Offset of the outcome's counter in a stripe.
    pub(crate) const fn offset(self) -> usize {
        match self {
            Self::Answered => ANSWERED,
            Self::Passed => PASSED,
        }
    }
}

/// The kinds of marks on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The file's data or attributes changed, or the file was made or removed.
    Path,
    /// The names in a directory and the directory's times changed.
    Listing,
    /// A directory has names that the index does not have.
    NewNames,
    /// Everything at and below the path may have changed.
    Subtree,
}

impl Mark {
    /// The word of this mark on a path with the hash `path_hash`. The word is never 0.
    #[must_use]
    pub const fn word(self, path_hash: u64) -> u64 {
        let salt = match self {
            Self::Path => 0x51c8_6d2b_3f0a_9e11,
            Self::Listing => 0xa3d1_70c5_882e_4b37,
            Self::NewNames => 0x6be5_02a9_f7c4_1d83,
            Self::Subtree => 0x1f97_b4e6_5d03_c84d,
        };
        (path_hash ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
    }

    /// The slot at which the search for `word` starts in a set of `slots` slots, a power of two.
    #[must_use]
    pub const fn slot(word: u64, slots: usize) -> usize {
        ((word >> 40) as usize) & (slots - 1)
    }
}

/// The first bytes of a new state file. The rest of its [`FILE_BYTES`] bytes is zero.
#[must_use]
pub fn header() -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// Checks the size of a state file and its first bytes, up to [`COUNT`].
///
/// # Errors
/// [`FormatError`] says what is wrong.
pub fn check(size: usize, header: &[u8]) -> Result<(), FormatError> {
    if size != FILE_BYTES || header.len() < COUNT {
        return Err(FormatError::Truncated);
    }
    if header[..8] != MAGIC {
        return Err(FormatError::Magic);
    }
    if header[12..COUNT].iter().any(|&b| b != 0) {
        return Err(FormatError::Damaged);
    }
    match u32_at(header, 8) {
        VERSION => Ok(()),
        other => Err(FormatError::Version(other)),
    }
}

/// The sums of the counters of a state file: the numbers of operations that were answered locally and that passed.
#[must_use]
pub fn counters(bytes: &[u8]) -> (u64, u64) {
    let mut sums = (0u64, 0u64);
    for stripe in 0..STRIPES {
        let at = COUNTERS + stripe * STRIPE_BYTES;
        sums.0 = sums.0.wrapping_add(u64_at(bytes, at + ANSWERED));
        sums.1 = sums.1.wrapping_add(u64_at(bytes, at + PASSED));
    }
    sums
}
