//! Spellings of paths.

/// Bytes that are looked at together.
const BLOCK: usize = 16;

/// Whether a path has a spelling that is not the shortest: `//`, or a name that begins with a dot, and so perhaps `.` or
/// `..`. Every operation of every process on a path outside the prefixes asks, so a block of bytes is looked at together;
/// the last one overlaps the one before it.
#[must_use]
pub fn may_be_odd(path: &[u8]) -> bool {
    let Some((_, next)) = path.split_first() else { return false };
    let first = &path[..next.len()];
    let (Some(last_first), Some(last_next)) = (first.last_chunk(), next.last_chunk()) else {
        return first.iter().zip(next).any(|(&a, &b)| a == b'/' && (b == b'/' || b == b'.'));
    };
    first.as_chunks().0.iter().zip(next.as_chunks().0).any(|(a, b)| odd(a, b))
        || odd(last_first, last_next)
}

/// Whether one of the bytes is a slash before, in `next`, a slash or a dot.
#[cfg(target_arch = "x86_64")]
#[inline]
fn odd(bytes: &[u8; BLOCK], next: &[u8; BLOCK]) -> bool {
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { odd_sse2(bytes, next) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn odd_sse2(bytes: &[u8; BLOCK], next: &[u8; BLOCK]) -> bool {
    use core::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8,
    };
    let load = |block: &[u8; BLOCK]| -> __m128i {
        let word = u128::from_le_bytes(*block);
        _mm_set_epi64x((word >> 64) as i64, word as i64)
    };
    let slash = _mm_cmpeq_epi8(load(bytes), _mm_set1_epi8(b'/' as i8));
    // '.' is 0x2e and '/' 0x2f.
    let either = _mm_and_si128(load(next), _mm_set1_epi8(!1));
    _mm_movemask_epi8(_mm_and_si128(slash, _mm_cmpeq_epi8(either, _mm_set1_epi8(b'.' as i8)))) != 0
}

/// Whether one of the bytes is a slash before, in `next`, a slash or a dot.
#[cfg(not(target_arch = "x86_64"))]
fn odd(bytes: &[u8; BLOCK], next: &[u8; BLOCK]) -> bool {
    bytes
        .iter()
        .zip(next)
        .fold(0, |found, (&a, &b)| found | (u8::from(a == b'/') & u8::from(b & !1 == b'.')))
        != 0
}

#[cfg(test)]
mod tests {
    use super::may_be_odd;

    #[test]
    fn odd_spellings_are_seen_wherever_they_stand() {
        for length in 0..100 {
            let plain = vec![b'a'; length];
            assert!(!may_be_odd(&plain));
            for at in 0..length.saturating_sub(1) {
                for odd in [b"//", b"/."] {
                    let mut path = plain.clone();
                    path[at..at + 2].copy_from_slice(odd);
                    assert!(may_be_odd(&path));
                }
            }
        }
        assert!(!may_be_odd(b"/a.b/c./d/"));
    }
}
