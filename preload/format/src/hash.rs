//! Hashes paths for their places in the index and in the diverged set ([`hash_path`]), and computes the checks of the
//! index's parts ([`check`]). A check proves that a part is still as its builder wrote it. The two functions share one
//! mixing function.
//!
//! A word is mixed in by `rotate((state ^ word) * K)` with an odd `K`. Every step is a bijection of the state and, for
//! a given state, of the word: two texts that differ in only one aligned word *never* have the same value, and any
//! other two have the same value with a chance of about 2^-64. The multiply-and-rotate step comes from rustc's FxHash
//! and the finalizer from MurmurHash3. An attacker who knows `K` can make collisions, but that does not matter, for two
//! reasons. The user who writes an index owns the stage. And every hit compares the whole path, so that a different
//! path with the same hash passes.
//!
//! Four lanes take the words in turn. A lane waits only for its own multiplication, so the processor works on four
//! words at the same time. A CRC would need tables, which would take cache lines from the host program.

use crate::u64_at;

const K: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
fn step(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(K).rotate_left(29)
}

/// Mixes all bytes. Each lane is written out. The shim is compiled for size, which would keep a loop over the lanes,
/// and the loop has a third of the speed.
#[inline(always)]
fn mix(seed: u64, bytes: &[u8]) -> u64 {
    let [mut a, mut b, mut c, mut d] = [seed; 4];
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        a = step(a, u64_at(block, 0));
        b = step(b, u64_at(block, 8));
        c = step(c, u64_at(block, 16));
        d = step(d, u64_at(block, 24));
    }
    let (words, odd) = rest.as_chunks::<8>();
    if let [word, ..] = words {
        a = step(a, u64::from_le_bytes(*word));
    }
    if let [_, word, ..] = words {
        b = step(b, u64::from_le_bytes(*word));
    }
    if let [_, _, word, ..] = words {
        c = step(c, u64::from_le_bytes(*word));
    }
    if !odd.is_empty() {
        // These are the last eight bytes of the text. Mixing some of them a second time does no harm. A shorter text is
        // padded.
        let last = bytes.last_chunk::<8>().copied().unwrap_or_else(|| {
            let mut padded = [0; 8];
            for (to, from) in padded.iter_mut().zip(odd) {
                *to = *from;
            }
            padded
        });
        d = step(d, u64::from_le_bytes(last));
    }
    let h = step(step(step(step(seed, a), b), c), d);
    let h = (h ^ (h >> 32)).wrapping_mul(K);
    h ^ (h >> 29)
}

/// The hash of a path. The hash must not change within one format version, because the tools write it into the index
/// and every rank computes it again.
#[must_use]
pub fn hash_path(path: &[u8]) -> u64 {
    mix(K ^ (path.len() as u64), path)
}

/// The check of `bytes` at offset `place` of the index with this `seed`. The same bytes have another check in another
/// index or at another place.
#[must_use]
#[inline(always)]
pub(crate) fn check(seed: u64, place: usize, bytes: &[u8]) -> u64 {
    mix(seed ^ (place as u64).wrapping_mul(K), bytes)
}
