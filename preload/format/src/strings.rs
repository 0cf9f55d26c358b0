//! Reads the strings of the index: paths, targets of links and extended attributes.
//!
//! Invariants: a NUL follows each string. A check precedes each target and each set of attributes.

use crate::hash::check;
use crate::u64_at;

/// The bit that is added to a text's offset in the strings before the text's check is computed. So no other part of the
/// file has a check for the same place.
const IN_STRINGS: usize = 1 << 63;

/// A string without its NUL. `None` if the string does not lie in `strings` or no NUL follows the string.
#[inline]
pub(crate) fn string(strings: &[u8], off: usize, len: usize) -> Option<&[u8]> {
    match strings.get(off..off.saturating_add(len).saturating_add(1)) {
        Some([text @ .., 0]) => Some(text),
        _ => None,
    }
}

/// Whether the check before a text is right. `off` is the text's offset in the strings.
pub(crate) fn proven_text(strings: &[u8], seed: u64, off: usize, text: &[u8]) -> bool {
    let written = off.checked_sub(8).and_then(|at| strings.get(at..off));
    written.is_some_and(|w| u64_at(w, 0) == text_check(seed, off, text))
}

/// The check that is written before a target or attributes.
pub(crate) fn text_check(seed: u64, off: usize, text: &[u8]) -> u64 {
    check(seed ^ text.len() as u64, off | IN_STRINGS, text)
}
