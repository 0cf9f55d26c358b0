//! Reads the map of a sparse file, which lists the parts of the file for which the tar has data. GNU tar has used four
//! forms of this map.
#![forbid(unsafe_code)]

use crate::archive::error::{ArchiveError, MemberProblem};
use crate::archive::header::BLOCK;
use crate::archive::pax;
use crate::archive::pax::Records;

/// Offset and length in bytes of each part with data.
pub type Map = Vec<(u64, u64)>;

/// The most parts that a file may have.
pub(super) const MOST_PARTS: u64 = 1 << 20;

/// Why the map of a sparse file cannot be read.
#[derive(Debug)]
pub(super) enum MapError {
    /// The archive ends or is damaged.
    Archive(ArchiveError),
    /// The member breaks a rule.
    Member(MemberProblem),
}

impl MapError {
    pub(super) const MALFORMED: Self = Self::Member(MemberProblem::MalformedMap);
}

impl From<ArchiveError> for MapError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

/// Reads a map that is in the extended header alone (forms 0.0 and 0.1); `None` where the header has no map.
pub(super) fn of_records(records: &Records) -> Result<Option<Map>, MapError> {
    let number = |text: &[u8]| pax::number(text).ok_or(MapError::MALFORMED);
    if let Some(text) = pax::last(records, "GNU.sparse.map") {
        let numbers = text.split(|b| *b == b',').map(number).collect::<Result<Vec<_>, _>>()?;
        return pairs(&numbers).map(Some);
    }
    let is = |key: &[u8], name: &str| key == name.as_bytes();
    let mut numbers = Vec::new();
    for (key, value) in records {
        let offset = is(key, "GNU.sparse.offset");
        if offset || is(key, "GNU.sparse.numbytes") {
            // Offsets and lengths alternate.
            if offset != numbers.len().is_multiple_of(2) {
                return Err(MapError::MALFORMED);
            }
            numbers.push(number(value)?);
        }
    }
    let is_sparse = pax::last(records, "GNU.sparse.numblocks").is_some();
    if numbers.is_empty() && !is_sparse { Ok(None) } else { pairs(&numbers).map(Some) }
}

/// Whether the map precedes the data (form 1.0).
pub(super) fn in_data(records: &Records) -> bool {
    pax::last(records, "GNU.sparse.major") == Some(b"1")
}

/// Reads the map that precedes the data, block by block from `next`; returns the map and its number of blocks.
pub(super) fn of_data(
    mut next: impl FnMut() -> Result<[u8; BLOCK], ArchiveError>,
) -> Result<(Map, u64), MapError> {
    let (mut numbers, mut wanted, mut blocks) = (Vec::new(), None, 0);
    let mut digits = Vec::new();
    while wanted != Some(numbers.len() as u64) {
        blocks += 1;
        for byte in next()? {
            if wanted == Some(numbers.len() as u64) {
                break;
            }
            if byte != b'\n' {
                digits.push(byte);
                if digits.len() > 20 {
                    return Err(MapError::MALFORMED);
                }
                continue;
            }
            let number = pax::number(&digits).ok_or(MapError::MALFORMED)?;
            digits.clear();
            match wanted {
                None if number > MOST_PARTS => return Err(MapError::MALFORMED),
                None => wanted = Some(number * 2),
                Some(_) => numbers.push(number),
            }
        }
    }
    Ok((pairs(&numbers)?, blocks))
}

fn pairs(numbers: &[u64]) -> Result<Map, MapError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if rest.is_empty() && pairs.len() as u64 <= MOST_PARTS {
        Ok(pairs.iter().map(|[offset, length]| (*offset, *length)).collect())
    } else {
        Err(MapError::MALFORMED)
    }
}

/// Whether the parts are in order, do not overlap, lie in a file of `size` bytes, and have `stored` bytes together.
pub(super) fn is_possible(map: &Map, size: u64, stored: u64) -> bool {
    let mut end = 0u64;
    let mut sum = 0u64;
    for (offset, length) in map {
        let Some(next) = offset.checked_add(*length).filter(|next| *next <= size) else {
            return false;
        };
        if *offset < end {
            return false;
        }
        end = next;
        sum += length;
    }
    sum == stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_in_front_of_the_data_may_take_several_blocks() {
        let mut text = "100\n".to_string();
        (0..100).for_each(|i| text.push_str(&format!("{}\n1\n", i * 4096)));
        let mut blocks = text.as_bytes().chunks(512).map(|c| {
            let mut block = [0; 512];
            block[..c.len()].copy_from_slice(c);
            block
        });
        let (map, used) = of_data(|| blocks.next().ok_or(ArchiveError::Truncated)).unwrap();
        assert_eq!((map.len(), map[99], used), (100, (405_504, 1), 2));
        assert!(is_possible(&map, 405_505, 100) && !is_possible(&map, 405_504, 100));
    }

    #[test]
    fn impossible_maps_are_refused() {
        assert!(of_data(|| Ok([b'9'; 512])).is_err());
        assert!(of_data(|| Ok([b'\n'; 512])).is_err());
        assert!(!is_possible(&vec![(0, 10), (5, 10)], 100, 20), "parts overlap");
        assert!(!is_possible(&vec![(u64::MAX, 2)], 100, 2), "no overflow");
        let odd = pax::parse(b"24 GNU.sparse.map=1,2,3\n").unwrap();
        assert!(of_records(&odd).is_err());
    }
}
