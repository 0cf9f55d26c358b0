//! Builds and splits byte strings in fixed buffers. No function here panics. If a string does not fit, the result is
//! `None`.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::ops::Range;

/// Copies `part` into `to` at offset `at` and returns the offset of its end.
pub fn put(to: &mut [u8], at: usize, part: &[u8]) -> Option<usize> {
    let end = at.checked_add(part.len())?;
    to.get_mut(at..end)?.copy_from_slice(part);
    Some(end)
}

/// Joins `parts` at the start of `to` and returns their length in bytes.
pub fn join(to: &mut [u8], parts: &[&[u8]]) -> Option<usize> {
    parts.iter().try_fold(0, |at, part| put(to, at, part))
}

/// Moves the bytes of the range `from` to offset `at` of the same text and returns the offset of their end.
pub fn shift(text: &mut [u8], from: Range<usize>, at: usize) -> Option<usize> {
    let down = at < from.start;
    let end = at.checked_add(from.len())?;
    let cells = Cell::from_mut(text).as_slice_of_cells();
    let pairs = cells.get(from)?.iter().zip(cells.get(at..end)?);
    let copy = |(from, to): (&Cell<u8>, &Cell<u8>)| to.set(from.get());
    // Where the ranges overlap, the direction keeps a byte from being overwritten before it is copied.
    if down {
        pairs.for_each(copy)
    } else {
        pairs.rev().for_each(copy)
    }
    Some(end)
}

/// Replaces the first `old` bytes of `text[..len]` by `new` and returns the new length.
pub fn replace_start(text: &mut [u8], len: usize, old: usize, new: &[u8]) -> Option<usize> {
    let end = shift(text, old..len, new.len())?;
    put(text, 0, new)?;
    Some(end)
}

/// Removes from a list, in place, the empty elements and those for which `stays` is false. `separates` is true for the
/// bytes that separate elements; afterwards colons separate them. Returns the new length in bytes.
pub fn retain(list: &mut [u8], separates: fn(&u8) -> bool, stays: fn(&[u8]) -> bool) -> usize {
    let (mut from, mut end) = (0, 0);
    while let Some(rest) = list.get(from..).filter(|rest| !rest.is_empty()) {
        let (element, _) = until(rest, separates);
        let (len, wanted) = (element.len(), !element.is_empty() && stays(element));
        if wanted {
            let start = if end > 0 { put(list, end, b":") } else { Some(0) };
            end = start.and_then(|at| shift(list, from..from + len, at)).unwrap_or(end);
        }
        from += len + 1;
    }
    end
}

/// Splits `text` before the first byte for which `stops` is true.
pub fn until(text: &[u8], stops: impl FnMut(&u8) -> bool) -> (&[u8], &[u8]) {
    let n = text.iter().position(stops).unwrap_or(text.len());
    text.split_at_checked(n).unwrap_or((text, b""))
}

/// Splits `path` before its last slash. `None` if the path has no slash.
pub fn at_last_slash(path: &[u8]) -> Option<(&[u8], &[u8])> {
    path.split_at_checked(path.iter().rposition(|&b| b == b'/')?)
}

/// Writes a number in decimal into `digits` and returns the text.
pub fn decimal(number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let (mut rest, mut unused) = (number, digits.len());
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        unused -= 1;
        if rest == 0 {
            break;
        }
    }
    digits.get(unused..).unwrap_or(b"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_does_not_fit_gives_none() {
        let mut to = *b"....";
        assert_eq!(put(&mut to, 1, b"abc"), Some(4));
        assert_eq!(put(&mut to, 2, b"abc"), None);
        assert_eq!(put(&mut to, usize::MAX, b"abc"), None);
        assert_eq!(&to, b".abc");
        assert_eq!(join(&mut to, &[b"x", b"", b"yz"]), Some(3));
        assert_eq!(join(&mut to, &[b"xy", b"zzz"]), None);
    }

    #[test]
    fn the_start_of_a_text_is_replaced_by_a_shorter_or_longer_text() {
        for new in [&b""[..], b"1", b"12", b"123", b"12345"] {
            let mut text = *b"ababcd..";
            let end = replace_start(&mut text[..7], 6, 2, new);
            assert_eq!(end, (new.len() <= 3).then_some(new.len() + 4));
            if let Some(end) = end {
                assert_eq!(text[..end], [new, b"abcd"].concat());
            }
            assert_eq!(text[7], b'.');
        }
        assert_eq!(replace_start(&mut [0; 8], 2, 3, b""), None);
    }

    #[test]
    fn unwanted_elements_are_removed_from_a_list() {
        for (list, left) in [
            ("", ""),
            ("no", ""),
            ("no:no no", ""),
            ("a", "a"),
            ("no:a", "a"),
            ("a:no", "a"),
            ("a no b", "a:b"),
            ("::long  no:: x:", "long:x"),
            ("no b:c", "b:c"),
        ] {
            let mut text = list.as_bytes().to_vec();
            let len = retain(&mut text, |&b| b == b':' || b == b' ', |e| e != b"no");
            assert_eq!(text[..len], *left.as_bytes(), "{list}");
        }
    }

    #[test]
    fn a_text_is_split_at_a_byte_and_at_the_last_slash() {
        assert_eq!(until(b"a/b/c", |&b| b == b'/'), (&b"a"[..], &b"/b/c"[..]));
        assert_eq!(until(b"abc", |&b| b == b'/'), (&b"abc"[..], &b""[..]));
        assert_eq!(at_last_slash(b"/a/bc"), Some((&b"/a"[..], &b"/bc"[..])));
        assert_eq!(at_last_slash(b"/"), Some((&b""[..], &b"/"[..])));
        assert_eq!(at_last_slash(b"abc"), None);
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 1_234_567_890, u32::MAX] {
            assert_eq!(decimal(number, &mut [0; 10]), number.to_string().as_bytes());
        }
    }
}
