//! Says whether a stage is closed: then all processes of the node pass everything to the shared file system.
//!
//! A process that cannot say what it changes closes the stage, and so does who removes it. What the stage would have
//! answered is never wrong then; it is only slower.
//!
//! The reasons are bits of the byte above the number of marks, so that the one load that shows an empty set shows an
//! open stage too. A process that can map nothing sets them by writing that byte of the file.

#[cfg(not(all(loom, test)))]
use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicU64, Ordering};

use crate::state;

/// Why a stage is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The set of marks is full.
    Full,
    /// The index is damaged at a place that had to say what a change concerns.
    Damaged,
    /// The stage is being removed.
    Removed,
    /// A process could not map the stage.
    Unmapped,
    /// A process could not find out what it was about to change.
    Blind,
    /// A program started that the shim does not enter, and that may write under a prefix.
    Unshimmed,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 6] =
        [Self::Full, Self::Damaged, Self::Removed, Self::Unmapped, Self::Blind, Self::Unshimmed];

    /// The reason as a bit of the byte at [`state::CLOSED`].
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Its name in `pyshm status --json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Damaged => "damaged",
            Self::Removed => "removed",
            Self::Unmapped => "unmapped",
            Self::Blind => "blind",
            Self::Unshimmed => "unshimmed",
        }
    }

    /// What happened, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Full => "more paths changed than there is room for marks",
            Self::Damaged => "the index is damaged",
            Self::Removed => "it is being removed",
            Self::Unmapped => {
                "a process could not map it, under a limit on its memory or descriptors"
            }
            Self::Blind => {
                "a process could not find out what it changed, without descriptors, memory or /proc"
            }
            Self::Unshimmed => {
                "a program started that the shim does not enter and that may write there"
            }
        }
    }
}

/// Some reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reasons(pub u8);

impl Reasons {
    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.0 & reason.bit() != 0)
    }

    /// Whether there is none: the stage is open.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The bits of the number of marks.
const NUMBER: u64 = (1 << SHIFT) - 1;
/// How far the reasons lie above the number of marks, in bits.
const SHIFT: u32 = (state::CLOSED - state::COUNT) as u32 * 8;

/// The words of a state file that say whether the stage is closed. They lie in its first page.
#[derive(Debug, Clone, Copy)]
pub struct Closed<'a> {
    /// The number of marks, and the reasons above it.
    pub(crate) count: &'a AtomicU64,
    /// How often each reason arose.
    pub(crate) times: &'a [AtomicU64],
    /// The program that closed the stage first.
    pub(crate) program: &'a [AtomicU64],
}

impl<'a> Closed<'a> {
    /// The words of a state file, of which the first [`state::CLOSED_BYTES`] are enough; `None` if there are fewer.
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        const TIMES: usize = state::TIMES / 8;
        const PROGRAM: usize = state::PROGRAM / 8;
        Some(Self {
            count: words.get(state::COUNT / 8)?,
            times: words.get(TIMES..PROGRAM)?,
            program: words.get(PROGRAM..state::CLOSED_BYTES / 8)?,
        })
    }

    /// Closes the stage, and returns whether it was open. `program` is the program that is the cause, if one is.
    ///
    /// Who sees anything that happened after this call returned sees the stage closed.
    pub fn close(&self, reason: Reason, program: &[u8]) -> bool {
        if let Some(times) = self.times.get(reason as usize) {
            times.fetch_add(1, Ordering::Relaxed);
        }
        let before = self.count.fetch_or(u64::from(reason.bit()) << SHIFT, Ordering::AcqRel);
        if before >> SHIFT != 0 {
            return false;
        }
        // For people alone. Who reads it meanwhile sees a part of it. The last byte stays 0.
        let program =
            program.get(..self.program.len().wrapping_mul(8).saturating_sub(1)).unwrap_or(program);
        for (word, bytes) in self.program.iter().zip(program.chunks(8)) {
            let mut whole = [0; 8];
            whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
        true
    }

    /// The number of marks, and the reasons why the stage is closed.
    #[inline]
    pub(crate) fn read(&self) -> (u64, Reasons) {
        let word = self.count.load(Ordering::Acquire);
        (word & NUMBER, Reasons((word >> SHIFT) as u8))
    }
}

/// What a state file says about its being closed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closings<'a> {
    /// Why the stage is closed; empty if it is open.
    pub reasons: Reasons,
    /// How often each reason arose, in the order of [`Reason::ALL`].
    pub times: [u64; Reason::ALL.len()],
    /// The program that closed it first; empty if none did.
    pub program: &'a [u8],
}

impl<'a> Closings<'a> {
    /// Reads the bytes of a state file.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        let Some(bytes) = bytes.get(..state::CLOSED_BYTES) else { return Self::default() };
        let reasons = Reasons(bytes.get(state::CLOSED).copied().unwrap_or(0));
        let mut times = [0; Reason::ALL.len()];
        for (number, times) in times.iter_mut().enumerate() {
            *times = crate::u64_at(bytes, state::TIMES + number * 8);
        }
        for reason in reasons.iter() {
            // One that was written into the file was not counted.
            let times = &mut times[reason as usize];
            *times = (*times).max(1);
        }
        let program = bytes.get(state::PROGRAM..).unwrap_or_default();
        let end = program.iter().position(|&b| b == 0).unwrap_or(program.len());
        Self { reasons, times, program: program.get(..end).unwrap_or_default() }
    }
}
