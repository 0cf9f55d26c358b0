//! Reads the extended headers of pax: records `LENGTH KEY=VALUE\n` that precede a member.
#![forbid(unsafe_code)]

/// Keys and values, in the order of the header.
pub type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Parses the records; `None` when they are malformed.
pub fn parse(mut bytes: &[u8]) -> Option<Records> {
    let mut records = Records::new();
    // Some programs pad the records with zeros.
    while bytes.first().is_some_and(|b| *b != 0) {
        let blank = bytes.iter().take(20).position(|b| *b == b' ')?;
        let length = usize::try_from(number(&bytes[..blank])?).ok()?;
        let record = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Some(records)
}

/// Returns the last value of a key; an empty value cancels the earlier values.
pub fn last<'a>(records: &'a Records, key: &str) -> Option<&'a [u8]> {
    let found = records.iter().rev().find(|(k, _)| k == key.as_bytes())?;
    Some(&found.1[..]).filter(|value| !value.is_empty())
}

/// Parses a decimal number; `None` unless every character is a digit.
pub fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Parses seconds with a fraction, perhaps negative, into seconds and nanoseconds.
pub fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let dot = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(number(&text[..dot])?).ok()?;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |i| fraction.get(i).map_or(0, |b| u32::from(b - b'0'));
    let nanoseconds = (0..9).fold(0, |n, i| n * 10 + digit(i));
    match (negative, nanoseconds) {
        (false, n) => Some((seconds, n)),
        (true, 0) => Some((-seconds, 0)),
        (true, n) => Some((-seconds - 1, 1_000_000_000 - n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_newlines_and_equal_signs() {
        assert_eq!(parse(b"12 path=a\nb\n").unwrap(), [(b"path".to_vec(), b"a\nb".to_vec())]);
        assert_eq!(parse(b"8 x=y=z\n\0\0").unwrap(), [(b"x".to_vec(), b"y=z".to_vec())]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [&b"99 path=a\n"[..], b"x", b"-5 a=b\n", b"2 a=b\n", b"0 ", b"7 abcd\n"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times_have_nanoseconds_on_both_sides_of_the_epoch() {
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"1e9"), None);
        assert_eq!(time(b"1.x"), None);
    }

    #[test]
    fn an_empty_value_cancels_a_key() {
        let records = parse(b"6 a=b\n5 a=\n").unwrap();
        assert_eq!(last(&records, "a"), None);
    }
}
