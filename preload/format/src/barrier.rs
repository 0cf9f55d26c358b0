//! Says who may reach an entry, as far as the index knows: what is closed to somebody, and what is refused to the user who built
//! the index.
//!
//! Most entries have neither, so that a reader tests one byte. Where something is closed, the reader asks who the calling thread
//! is: if it is who built the index, with the same groups and capabilities, what was refused at staging decides; any other
//! identity is left to the kernel.

/// A directory on the way to the entry may not be searched.
pub const WAY: u8 = 1;
/// The entry itself may not be read.
pub const READ: u8 = 2;
/// The entry is a directory that may not be searched.
pub const SEARCH: u8 = 4;
/// A file that lies in the directory, which the entry is, may not be read.
pub const INSIDE: u8 = 8;

/// What of an entry is barred, as bits of [`WAY`], [`READ`], [`SEARCH`] and [`INSIDE`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Barriers {
    /// Barred to somebody: the mode or an access control list excludes a user, a group or the others.
    pub closed: u8,
    /// Barred to the user who built the index. Such bits are [`closed`](Self::closed) too.
    pub refused: u8,
}

impl core::ops::BitOr for Barriers {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { closed: self.closed | other.closed, refused: self.refused | other.refused }
    }
}

/// Who built the index, as that process saw itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Builder {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// All its groups, by [`group_digest`].
    pub groups: u64,
    /// The owner of the root directory. A process of another user namespace sees another one.
    pub root: u32,
    /// Its capabilities that pass over modes, in the kernel's numbers: bits of [`OVERRIDE`] and [`READ_SEARCH`].
    pub powers: u32,
}

/// The capability CAP_DAC_OVERRIDE.
pub const OVERRIDE: u32 = 1 << 1;
/// The capability CAP_DAC_READ_SEARCH.
pub const READ_SEARCH: u32 = 1 << 2;

/// A digest of a process's group and supplementary groups, in any order.
#[must_use]
pub fn group_digest(gid: u32, supplementary: &[u32]) -> u64 {
    let mix = |group: u32| {
        let mixed = (u64::from(group) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    };
    let own = if supplementary.contains(&gid) { 0 } else { mix(gid) };
    supplementary.iter().fold(own, |sum, &group| sum.wrapping_add(mix(group)))
}
