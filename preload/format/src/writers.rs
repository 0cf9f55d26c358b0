//! Says who may write under a prefix, as far as owners, modes and groups tell when the stage is built.
//!
//! ```text
//! 0    the user that built the stage u32: the numbers are those that this user sees
//! 4    1 if anybody may write, else 0, u32
//! 8    number of users u32, then the users u32 each
//!      the groups u32 each, up to the end
//! ```

use crate::u32_at;

/// Who may write under a prefix.
#[derive(Debug, Clone, Copy)]
pub struct Writers<'a>(&'a [u8]);

impl<'a> Writers<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether anybody may, or nothing is known.
    #[must_use]
    pub fn anybody(&self) -> bool {
        self.0.len() < 12 || u32_at(self.0, 4) != 0
    }

    /// The user that sees owners by these numbers.
    #[must_use]
    pub fn seen_by(&self) -> u32 {
        u32_at(self.0, 0)
    }

    /// Whether this user may, as an owner.
    #[must_use]
    pub fn has_user(&self, uid: u32) -> bool {
        self.users().any(|user| user == uid)
    }

    /// Whether this group may.
    #[must_use]
    pub fn has_group(&self, gid: u32) -> bool {
        self.ids(12 + 4 * self.users().count()).any(|group| group == gid)
    }

    /// Whether a group may.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        self.ids(12 + 4 * self.users().count()).next().is_some()
    }

    fn users(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.ids(12).take(u32_at(self.0, 8) as usize)
    }

    fn ids(&self, from: usize) -> impl Iterator<Item = u32> + use<'a> {
        let ids = self.0.get(from..).unwrap_or(&[]);
        ids.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id))
    }
}
