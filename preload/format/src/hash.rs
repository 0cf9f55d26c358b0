//! The hash that places a path in the index and in the diverged set.

const K: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes a path, eight bytes at a time (a multiply and a rotation for each, then a finalizer).
///
/// It must stay the same within one format version: the tools write it into the index, every rank computes it
/// again. It is not keyed: whoever writes the index owns the stage, and every hit compares the whole path.
#[must_use]
pub fn hash_path(path: &[u8]) -> u64 {
    let mut h = K ^ (path.len() as u64);
    let (words, rest) = path.as_chunks::<8>();
    for word in words {
        h = (h ^ u64::from_le_bytes(*word)).wrapping_mul(K).rotate_left(29);
    }
    let mut last = [0u8; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    h = (h ^ u64::from_le_bytes(last)).wrapping_mul(K);
    h ^= h >> 32;
    h = h.wrapping_mul(K);
    h ^ (h >> 29)
}
