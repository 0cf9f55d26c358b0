//! An entry of the index: one path, its staged names and its attributes.
//!
//! [`Index`](crate::Index) verifies an entry before it gives the entry away, except for the extended attributes, which
//! [`Entry::xattrs`] verifies.

use crate::record::{ENTRY_ACL, ENTRY_BYTES, ENTRY_EDITED, ENTRY_REMOTE, Kind, Stat};
use crate::strings::{proven_text, string};
use crate::xattr::{self, Xattrs};
use crate::{u16_at, u32_at, u64_at};

/// An entry of the index. A NUL follows every string that the methods return.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub(crate) strings: &'a [u8],
    pub(crate) bytes: &'a [u8; ENTRY_BYTES],
    pub(crate) fs_len: usize,
    pub(crate) seed: u64,
}

impl<'a> Entry<'a> {
    #[inline]
    pub(crate) fn offset(&self, i: usize) -> usize {
        u32_at(self.bytes, 8 + i * 4) as usize
    }

    #[inline]
    fn text(&self, offset: usize, len: usize) -> &'a [u8] {
        string(self.strings, offset, len).unwrap_or(&[])
    }

    #[inline]
    pub(crate) fn flag(&self, flag: u8) -> bool {
        self.bytes[29] & flag != 0
    }

    #[inline]
    fn staged_len(&self) -> usize {
        u16_at(self.bytes, 24) as usize
    }

    /// `hash_path` of the original path.
    #[must_use]
    #[inline]
    pub fn hash(&self) -> u64 {
        u64_at(self.bytes, 0)
    }

    /// The original absolute path.
    #[must_use]
    #[inline]
    pub fn path(&self) -> &'a [u8] {
        self.staged().get(self.fs_len..).unwrap_or(&[])
    }

    /// The staged path: `<stage>/fs` followed by the original path. exec and dlopen use this path.
    #[must_use]
    #[inline]
    pub fn staged(&self) -> &'a [u8] {
        self.text(self.offset(0), self.staged_len())
    }

    /// The staged path of the file that has the original's bytes. open uses this path.
    #[must_use]
    pub fn pristine(&self) -> &'a [u8] {
        if self.flag(ENTRY_EDITED) {
            // "orig" is two bytes longer than "fs".
            self.text(self.offset(1), self.staged_len() + 2)
        } else {
            self.staged()
        }
    }

    /// A symbolic link's original target; empty for anything else.
    #[must_use]
    pub fn target(&self) -> &'a [u8] {
        self.text(self.offset(2), u16_at(self.bytes, 26) as usize)
    }

    /// The recorded extended attributes. `None` if none were recorded or they are damaged.
    #[must_use]
    pub fn xattrs(&self) -> Option<Xattrs<'a>> {
        let off = self.offset(3);
        let rest = self.strings.get(off..).filter(|_| off != 0)?;
        let bytes = rest.get(..u32_at(rest, 0) as usize)?;
        let whole =
            bytes.len() >= xattr::HEAD_BYTES && proven_text(self.strings, self.seed, off, bytes);
        whole.then(|| Xattrs::new(bytes))
    }

    /// The entry's kind.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> Kind {
        Kind::from_code(self.bytes[28])
    }

    /// Whether the file's data was left out of the stage.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.flag(ENTRY_REMOTE)
    }

    /// Whether an access control list decides who may access the file.
    #[must_use]
    pub fn has_acl(&self) -> bool {
        self.flag(ENTRY_ACL)
    }

    /// Number of the prefix that the path belongs to.
    #[must_use]
    pub fn prefix(&self) -> usize {
        u16_at(self.bytes, 30) as usize
    }

    /// Number of the bundle that the path came from.
    #[must_use]
    pub fn bundle(&self) -> usize {
        u16_at(self.bytes, 144) as usize
    }

    /// The original's device number on this node, and its inode.
    #[must_use]
    #[inline]
    pub fn inode(&self) -> (u64, u64) {
        (u64_at(self.bytes, 32), u64_at(self.bytes, 40))
    }

    /// The original's attributes.
    #[must_use]
    pub fn stat(&self) -> Stat {
        Stat::from_entry(self.bytes)
    }
}
