//! Checks a tar header's checksum, and reads its numbers.
#![forbid(unsafe_code)]

/// The size in bytes of a header, and of every block of a tar.
pub(super) const BLOCK: usize = 512;

/// Whether a block is a tar header, by its checksum. Some old programs added up the bytes as signed numbers.
pub(super) fn is_header(block: &[u8; BLOCK]) -> bool {
    let summed = |i: usize, b: u8| if (148..156).contains(&i) { b' ' } else { b };
    let sum: u64 = block.iter().enumerate().map(|(i, b)| u64::from(summed(i, *b))).sum();
    let signed: i64 = block.iter().enumerate().map(|(i, b)| i64::from(summed(i, *b) as i8)).sum();
    let recorded = octal(&block[148..156]);
    recorded.is_some_and(|recorded| recorded == sum || i64::try_from(recorded) == Ok(signed))
        && block[148..156].iter().any(u8::is_ascii_digit)
}

/// Reads a number in octal digits, or in binary for large and negative ones, as GNU tar and star write them.
pub(super) fn signed(field: &[u8]) -> Option<i64> {
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            // Two's complement of all bits but the first.
            let start = i128::from(first & 0x7f) - if first & 0x40 != 0 { 0x80 } else { 0 };
            let number =
                rest.iter().try_fold(start, |n, b| n.checked_mul(256)?.checked_add((*b).into()));
            number?.try_into().ok()
        }
        _ => octal(field)?.try_into().ok(),
    }
}

/// Reads a number as [`signed`] does; `None` for a negative one.
pub(super) fn unsigned(field: &[u8]) -> Option<u64> {
    signed(field)?.try_into().ok()
}

fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let text = field[..end].trim_ascii();
    text.iter().try_fold(0u64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary_and_nothing_else() {
        assert_eq!(unsigned(b"0000644\0"), Some(0o644));
        assert_eq!(unsigned(b"   644 \0"), Some(0o644));
        assert_eq!(unsigned(b"\0\0\0\0"), Some(0));
        assert_eq!(unsigned(b"-0000644\0"), None);
        assert_eq!(unsigned(b"0x1f\0\0\0\0"), None);
        assert_eq!(unsigned(b"\x80\0\0\0\0\0\0\x05\0\0\0\0"), Some(5 << 32));
        assert_eq!(signed(&[0xff; 12]), Some(-1));
        assert_eq!(unsigned(&[0xff; 12]), None);
        assert_eq!(unsigned(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(octal(b"777777777777777777777777"), None);
    }

    #[test]
    fn a_header_is_known_by_its_checksum() {
        let mut header = tar::Header::new_ustar();
        header.set_cksum();
        assert!(is_header(header.as_bytes()));
        let mut other = *header.as_bytes();
        other[0] ^= 1;
        assert!(!is_header(&other) && !is_header(&[0; 512]));
    }
}
