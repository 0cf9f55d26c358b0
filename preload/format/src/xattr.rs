//! Reads a path's recorded extended attributes.
//!
//! Most paths of a prefix share one [`Xattrs`] without attributes. This [`Xattrs`] only has the errors that the file
//! system of these paths gives for each class of names.
//!
//! ```text
//! 0    length of the whole u32
//! 4    errno of a listing u8: 0 if the names below are the answer, ASK if the original must be asked
//! 5    errno u8 for a name that the path does not have, for each Class; ASK if the original must be asked
//! 9    zero
//! 12   length of the names u32
//! 16   names, each with a NUL behind it, as listxattr(2) returns them
//!      values in the order of the names: length u32 (NOT_HERE: the original has it) and bytes
//! ```

use crate::u32_at;

/// Length in bytes of the longest name of an attribute.
const NAME_MAX: usize = 255;
/// Size of the part before the names, in bytes.
pub(crate) const HEAD_BYTES: usize = 16;
/// The byte in the place of an error number that only the original's file system knows.
pub const ASK: u8 = 255;
/// The number in the place of the length of a value that is not recorded.
pub(crate) const NOT_HERE: u32 = u32::MAX;

/// A class of names. A file system gives the same error for every name of a class that a path does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `user.*`
    User,
    /// `security.*`
    Security,
    /// `system.posix_acl_access`
    AccessList,
    /// `system.posix_acl_default`
    DefaultList,
}

/// Number of classes.
pub const CLASSES: usize = 4;

impl Class {
    /// The class of a name. `None` for three kinds of names: those that only some file systems define (`lustre.*`,
    /// `system.nfs4_acl`), those that only some readers see (`trusted.*`), and those that the kernel itself refuses.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        let below = |space: &[u8]| name.strip_prefix(space).is_some_and(|rest| !rest.is_empty());
        match name {
            _ if name.len() > NAME_MAX => None,
            b"system.posix_acl_access" => Some(Self::AccessList),
            b"system.posix_acl_default" => Some(Self::DefaultList),
            _ if below(b"user.") => Some(Self::User),
            _ if below(b"security.") => Some(Self::Security),
            _ => None,
        }
    }
}

/// The recorded answer to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// This error number.
    Errno(i32),
    /// No answer is recorded: ask the original.
    Ask,
}

/// The recorded extended attributes of a path.
#[derive(Debug, Clone, Copy)]
pub struct Xattrs<'a> {
    bytes: &'a [u8],
}

impl<'a> Xattrs<'a> {
    /// Attributes in `bytes`, whose check must have been verified.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn errno(&self, at: usize) -> Option<Told<'a>> {
        match self.bytes.get(at).copied().unwrap_or(ASK) {
            0 => None,
            ASK => Some(Told::Ask),
            e => Some(Told::Errno(e.into())),
        }
    }

    fn names(&self) -> &'a [u8] {
        let len = u32_at(self.bytes, 12) as usize;
        self.bytes.get(HEAD_BYTES..HEAD_BYTES.saturating_add(len)).unwrap_or(&[])
    }

    /// The answer to listxattr(2).
    #[must_use]
    pub fn list(&self) -> Told<'a> {
        self.errno(4).unwrap_or(Told::Bytes(self.names()))
    }

    /// The answer to getxattr(2) for `name`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Told<'a> {
        let names = self.names();
        let mut at = HEAD_BYTES + names.len();
        for known in names.split_inclusive(|&b| b == 0) {
            let len = u32_at(self.bytes, at);
            let here = if len == NOT_HERE { 0 } else { len as usize };
            let end = (at + 4).saturating_add(here);
            if known.strip_suffix(b"\0") == Some(name) {
                return match self.bytes.get(at + 4..end) {
                    Some(value) if len != NOT_HERE => Told::Bytes(value),
                    _ => Told::Ask,
                };
            }
            at = end;
        }
        Class::of(name).and_then(|class| self.errno(5 + class as usize)).unwrap_or(Told::Ask)
    }
}
