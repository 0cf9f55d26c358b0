//! Tells plain spellings of paths from odd ones.
//!
//! A path is plain if it is absolute, has no `//`, and none of its names begins with a dot (such a name could be `.` or
//! `..`).

/// Whether an absolute path is odd, that is, not plain.
#[must_use]
pub fn may_be_odd(path: &[u8]) -> bool {
    path.windows(2).any(|two| two[0] == b'/' && matches!(two[1], b'/' | b'.'))
}

/// Returns the length of a plain path whose NUL lies within `room` bytes. `None` for any other path, and possibly for a
/// plain path that ends in the last 15 bytes of the room.
///
/// Every operation of every process calls this first, so one pass examines the path in blocks of 16 bytes.
///
/// # Safety
/// `room` bytes must be readable.
#[cfg(target_arch = "x86_64")]
#[inline]
pub unsafe fn plain_length(path: *const u8, room: usize) -> Option<usize> {
    /// Bytes in a block.
    const BLOCK: usize = 16;
    // SAFETY: the room has a byte, and the caller guarantees that it can be read.
    if room == 0 || unsafe { path.read() } != b'/' {
        return None;
    }
    // Bit 0 of `slash` is set if the block before ends with a slash.
    let (mut at, mut slash) = (0, 0);
    while at + BLOCK <= room {
        // SAFETY: the block lies within the room, which the caller guarantees to be readable.
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

/// Bit masks of a block, one bit for each byte.
#[cfg(target_arch = "x86_64")]
struct Block {
    ends: u32,
    slashes: u32,
    /// Slashes and dots.
    either: u32,
}

/// # Safety
/// 16 bytes must be readable.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn look(bytes: *const u8) -> Block {
    use core::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set1_epi8, _mm_setzero_si128,
    };
    let block: __m128i;
    // SAFETY: the caller guarantees that the bytes can be read. Bytes behind the string's end may belong to no object
    // that Rust knows, which a Rust load may not read but an assembler instruction may. Every x86-64 processor has
    // SSE2.
    unsafe {
        core::arch::asm!("movdqu {}, [{}]", out(xmm_reg) block, in(reg) bytes,
            options(nostack, readonly, preserves_flags));
        let mask = |block, byte: u8| {
            _mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_set1_epi8(byte as i8))) as u32
        };
        Block {
            ends: _mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_setzero_si128())) as u32,
            slashes: mask(block, b'/'),
            // '.' is 0x2e and '/' 0x2f.
            either: mask(_mm_and_si128(block, _mm_set1_epi8(!1)), b'.'),
        }
    }
}

/// Returns the length of a plain path whose NUL lies within `room` bytes, else `None`.
///
/// # Safety
/// `room` bytes must be readable.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub unsafe fn plain_length(path: *const u8, room: usize) -> Option<usize> {
    // SAFETY: the caller guarantees that the room can be read; the slice ends before the NUL.
    let path = unsafe { core::slice::from_raw_parts(path, libc::strnlen(path.cast(), room)) };
    let plain = path.len() < room && path.first() == Some(&b'/') && !may_be_odd(path);
    plain.then_some(path.len())
}

#[cfg(test)]
mod tests {
    use super::{may_be_odd, plain_length};

    /// Gives the `plain_length` of a string with slashes behind its end. If `plain_length` read these slashes, the
    /// string would look odd.
    fn length(path: &[u8]) -> Option<usize> {
        let mut room = path.to_vec();
        room.push(0);
        room.extend([b'/'; 32]);
        // SAFETY: the vector has `room.len()` bytes.
        unsafe { plain_length(room.as_ptr(), room.len()) }
    }

    #[test]
    fn odd_spellings_are_found_at_every_position() {
        for len in 1..100 {
            let mut plain = vec![b'a'; len];
            assert_eq!(length(&plain), None, "the path is relative");
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
            // SAFETY: the vector has more than `room` bytes.
            assert_eq!(unsafe { plain_length(plain.as_ptr(), room) }, None);
        }
    }
}
