//! Reads an access control list, as a program gives it to setxattr(2): a version, and entries of eight bytes each
//! (`linux/posix_acl_xattr.h`).

use crate::base::readable::is_readable;

/// Bytes of the version.
const HEAD: usize = 4;
/// Bytes of an entry: tag, permission and number.
const ENTRY: usize = 8;
/// Longest value of an extended attribute, in bytes (XATTR_SIZE_MAX).
const MOST: usize = 65536;
const USER_OBJ: u16 = 1;
/// The permission to search a directory.
const SEARCH: u16 = 1;

/// Whom a list lets search a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// The owner.
    pub owner: bool,
    /// Everybody.
    pub all: bool,
}

/// Reads the value of `system.posix_acl_access`. What cannot be read lets everybody search, because the kernel refuses it.
///
/// # Safety
/// `value` may be any pointer. If it can be read, it must lead to `size` bytes.
pub unsafe fn search(value: *const u8, size: usize) -> Search {
    let mut found = Search { owner: true, all: true };
    for at in (HEAD..size.min(MOST)).step_by(ENTRY) {
        let at = value.wrapping_add(at);
        if !is_readable(at as usize, ENTRY / 2) {
            break;
        }
        // SAFETY: the caller guarantees the bytes, which can be read; numbers of any place may be read so.
        let (tag, permission) = unsafe {
            (at.cast::<u16>().read_unaligned(), at.cast::<u16>().add(1).read_unaligned())
        };
        if u16::from_le(permission) & SEARCH == 0 {
            found.all = false;
            found.owner &= u16::from_le(tag) != USER_OBJ;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> std::vec::Vec<u8> {
        let mut bytes = std::vec![2, 0, 0, 0];
        for (tag, permission) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permission.to_le_bytes());
            bytes.extend([0xff; 4]);
        }
        bytes
    }

    #[test]
    fn a_list_tells_who_may_search() {
        let of = |entries: &[(u16, u16)]| {
            let bytes = list(entries);
            // SAFETY: as many bytes.
            let found = unsafe { search(bytes.as_ptr(), bytes.len()) };
            (found.owner, found.all)
        };
        assert_eq!(of(&[(1, 7), (4, 5), (32, 5)]), (true, true));
        assert_eq!(of(&[(1, 7), (2, 6), (4, 5), (16, 7), (32, 5)]), (true, false));
        assert_eq!(of(&[(1, 6), (4, 5), (32, 5)]), (false, false));
        // SAFETY: null can not be read.
        let nothing = unsafe { search(core::ptr::null(), 44) };
        assert_eq!(nothing, Search { owner: true, all: true });
    }
}
