//! Spellings of paths.
//!
//! A path is plain if it is absolute and has no `//` and no name that begins with a dot, and so perhaps is `.` or `..`.

/// Whether an absolute path is not plain.
#[must_use]
pub fn may_be_odd(path: &[u8]) -> bool {
    path.windows(2).any(|two| two[0] == b'/' && matches!(two[1], b'/' | b'.'))
}

/// The length of a plain path that ends, with a NUL, within `room` bytes. `None` for any other, and perhaps for one that
/// ends in the last bytes.
///
/// Every operation of every process asks this first, so one pass looks at a block of bytes together.
///
/// # Safety
/// `room` bytes can be read.
#[cfg(target_arch = "x86_64")]
#[inline]
pub unsafe fn plain_length(path: *const u8, room: usize) -> Option<usize> {
    /// Bytes that are looked at together.
    const BLOCK: usize = 16;
    // SAFETY: so can one.
    if room == 0 || unsafe { path.read() } != b'/' {
        return None;
    }
    // The bit of a slash that is the last byte of the block before.
    let (mut at, mut slash) = (0, 0);
    while at + BLOCK <= room {
        // SAFETY: by the caller's word.
        let found = unsafe { look(path.add(at)) };
        let odd = found.either & (found.slashes << 1 | slash);
        if found.ends != 0 {
            let before = found.ends.wrapping_sub(1) & !found.ends;
            return (odd & before == 0).then_some(at + found.ends.trailing_zeros() as usize);
        }
        if odd != 0 {
            return None;
        }
        slash = found.slashes >> (BLOCK - 1);
        at += BLOCK;
    }
    None
}

/// What bytes of a block are, a bit for each.
#[cfg(target_arch = "x86_64")]
struct Found {
    ends: u32,
    slashes: u32,
    /// A slash or a dot.
    either: u32,
}

/// # Safety
/// 16 bytes can be read.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn look(bytes: *const u8) -> Found {
    use core::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set1_epi8, _mm_setzero_si128,
    };
    let block: __m128i;
    // SAFETY: the bytes can be read by the caller's word. Those behind a string's end may be of no object that Rust knows,
    // which an instruction may read and a load of Rust's may not. Every x86-64 processor has SSE2.
    unsafe {
        core::arch::asm!("movdqu {}, [{}]", out(xmm_reg) block, in(reg) bytes,
            options(nostack, readonly, preserves_flags));
        let mask = |block, byte: u8| {
            _mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_set1_epi8(byte as i8))) as u32
        };
        Found {
            ends: _mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_setzero_si128())) as u32,
            slashes: mask(block, b'/'),
            // '.' is 0x2e and '/' 0x2f.
            either: mask(_mm_and_si128(block, _mm_set1_epi8(!1)), b'.'),
        }
    }
}

/// The length of a plain path that ends, with a NUL, within `room` bytes.
///
/// # Safety
/// `room` bytes can be read.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub unsafe fn plain_length(path: *const u8, room: usize) -> Option<usize> {
    // SAFETY: by the caller's word; as many bytes precede the NUL.
    let path = unsafe { core::slice::from_raw_parts(path, libc::strnlen(path.cast(), room)) };
    let plain = path.len() < room && path.first() == Some(&b'/') && !may_be_odd(path);
    plain.then_some(path.len())
}

#[cfg(test)]
mod tests {
    use super::{may_be_odd, plain_length};

    /// As the hooks ask, the string being followed by what would be odd.
    fn length(path: &[u8]) -> Option<usize> {
        let mut room = path.to_vec();
        room.push(0);
        room.extend([b'/'; 32]);
        // SAFETY: that many bytes can be read.
        unsafe { plain_length(room.as_ptr(), room.len()) }
    }

    #[test]
    fn odd_spellings_are_seen_wherever_they_stand() {
        for len in 1..100 {
            let mut plain = vec![b'a'; len];
            assert_eq!(length(&plain), None, "it is relative");
            plain[0] = b'/';
            assert!(!may_be_odd(&plain));
            assert_eq!(length(&plain), Some(len));
            for at in 0..len - 1 {
                for odd in [b"//", b"/."] {
                    let mut path = plain.clone();
                    path[at..at + 2].copy_from_slice(odd);
                    assert!(may_be_odd(&path));
                    assert_eq!(length(&path), None);
                }
            }
            plain[len - 1] = b'/';
            assert_eq!(length(&plain), (len != 2).then_some(len));
        }
        assert_eq!(length(b"/a.b/c./d/"), Some(10));
        assert_eq!(length(b""), None);
    }

    #[test]
    fn nothing_is_read_behind_the_room() {
        let plain = [&[b'/'][..], &[b'a'; 99]].concat();
        for room in 0..plain.len() {
            // SAFETY: that many bytes can be read.
            assert_eq!(unsafe { plain_length(plain.as_ptr(), room) }, None);
        }
    }
}
