//! Defines the layouts that `libpyshm.so` and the staging tools share: the stage's [`index`] and its [`state`] file.
//!
//! Every process of a job reads both files. So this crate has no dependencies, allocates nothing and has no `unsafe`.
//! All integers are little-endian. A reader trusts no byte of a file: every offset is checked where it is used. A
//! damaged file yields [`FormatError`] or [`Lookup::Damaged`], never another file's data or a false absence.
//!
//! Limits:
//! - The stage's owner can change the index or the state file after a process has mapped it.
//! - Only the header of the state file is checked. The words behind the header are shared memory that every process of
//!   the user writes. If a process overwrites a mark there, the mark is lost.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "build")]
pub mod build;
pub mod diverged;
pub mod entry;
mod hash;
pub mod index;
pub mod launch;
pub mod layout;
pub mod outside_programs;
pub mod record;
pub mod state;
mod strings;
pub mod xattr;

pub use diverged::{Diverged, Subtrees};
pub use entry::Entry;
pub use hash::hash_path;
pub use index::{Index, Lookup, Prefix, PrefixMode};
pub use outside_programs::OutsidePrograms;
pub use record::{Kind, Stat, Time};

/// Why a file is not a usable index or state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatError {
    /// The file does not have the length that it should have, or is shorter than a header.
    Truncated,
    /// The first bytes are not pyshm's.
    Magic,
    /// Another version of pyshm wrote the file in a layout that this version does not know.
    Version(u32),
    /// The head of the index (its header, its prefixes and their strings) or the header of the state file is damaged.
    Damaged,
}

impl core::fmt::Display for FormatError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("it is truncated"),
            Self::Magic => f.write_str("it was not written by pyshm"),
            Self::Version(v) => {
                write!(f, "its format version is {v}, which this pyshm does not know")
            }
            Self::Damaged => f.write_str("its head is damaged"),
        }
    }
}

/// Reads a little-endian `u64` at offset `at`. 0 if the file is too short.
#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|b| b.first_chunk::<8>()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => 0,
    }
}

/// Reads a little-endian `u32` at offset `at`. 0 if the file is too short.
#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(|b| b.first_chunk::<4>()) {
        Some(chunk) => u32::from_le_bytes(*chunk),
        None => 0,
    }
}

/// Reads a little-endian `u16` at offset `at`. 0 if the file is too short.
#[inline]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..).and_then(|b| b.first_chunk::<2>()) {
        Some(chunk) => u16::from_le_bytes(*chunk),
        None => 0,
    }
}

#[cfg(all(test, feature = "build", not(loom)))]
mod tests;
