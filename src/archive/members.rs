//! The members of a tar as they come: v7, ustar, pax and GNU headers with their long names, large numbers and sparse
//! files. Whatever is malformed ends it; nothing is guessed, no length that a header claims is allocated at once.
#![forbid(unsafe_code)]

use std::io::Read;

use tar::{GnuExtSparseHeader, Header};

use crate::archive::pax::Records;
use crate::archive::sparse::Map;
use crate::archive::{compression, pax, sparse};
use crate::text::shown;

const BLOCK: usize = 512;
/// No extended header or long name is larger.
const MOST_EXTENDED: u64 = 4 << 20;
/// Zeros behind the end, with which writers fill up their last record.
const MOST_PADDING: u64 = 64 << 20;

/// No sparse file is larger.
const MOST_SPARSE: u64 = 1 << 44;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// Another name for the member of this name.
    HardLink(Vec<u8>),
    /// What cannot be staged, by its name.
    Other(&'static str),
}

/// A member without its data.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name as it stands there.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Bytes of data that follow.
    pub stored: u64,
    /// Where the data belongs in a sparse file.
    pub map: Option<Map>,
    /// Last modification.
    pub mtime: (i64, u32),
    /// Last access, if it is said.
    pub atime: Option<(i64, u32)>,
    /// Last change, if it is said.
    pub ctime: Option<(i64, u32)>,
    /// Extended attributes.
    pub xattrs: Records,
    /// It has an access control list, in words.
    pub has_acl: bool,
}

/// Reads members one after the other.
pub struct Members<'a> {
    input: &'a mut dyn Read,
    /// Data of the current member that is not read.
    left: u64,
    /// Zeros behind it.
    padding: u64,
    /// Bytes read so far.
    position: u64,
    global: Records,
}

/// What stands in front of a member.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Records,
}

impl<'a> Members<'a> {
    /// Reads the tar whose bytes come from `input`.
    pub fn new(input: &'a mut dyn Read) -> Self {
        Self { input, left: 0, padding: 0, position: 0, global: Records::new() }
    }

    /// Bytes of the tar that were read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next member; `None` behind the last one, when the whole input has been read.
    ///
    /// # Errors
    /// What is wrong with the archive.
    #[allow(clippy::should_implement_trait, reason = "an iterator would go on after an error")]
    pub fn next(&mut self) -> Result<Option<Member>, String> {
        self.skip(self.left + self.padding)?;
        (self.left, self.padding) = (0, 0);
        let mut extended = Extended::default();
        loop {
            let block = self.block()?;
            if block == [0; BLOCK] {
                self.end()?;
                return Ok(None);
            }
            if !is_header(&block) {
                let at = self.position - BLOCK as u64;
                return Err(format!("it is damaged: at byte {at} of the tar there is no header"));
            }
            let header = Header::from_byte_slice(&block);
            let size = unsigned(&block[124..136]).ok_or_else(|| {
                format!(
                    "its member {} claims a size that is no number",
                    shown(&header.path_bytes())
                )
            })?;
            let kind = block[156];
            match kind {
                b'L' => extended.name = Some(until_nul(self.extended(size)?)?),
                b'K' => extended.link = Some(until_nul(self.extended(size)?)?),
                b'x' | b'X' => extended.records.extend(self.records(size)?),
                b'g' => {
                    let records = self.records(size)?;
                    self.global.extend(records);
                }
                // A volume's label.
                b'V' => self.skip(size.next_multiple_of(BLOCK as u64))?,
                _ => return self.member(header, kind, size, extended).map(Some),
            }
        }
    }

    /// The next bytes of the current member's data; 0 behind the last.
    ///
    /// # Errors
    /// When the archive ends before.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let n = self.input.read(&mut buffer[..most]).map_err(|e| compression::unreadable(&e))?;
        if n == 0 {
            return Err("it is truncated: copy or make it anew".into());
        }
        self.left -= n as u64;
        self.position += n as u64;
        Ok(n)
    }

    fn member(
        &mut self,
        header: &Header,
        kind: u8,
        size: u64,
        extended: Extended,
    ) -> Result<Member, String> {
        let mut records = self.global.clone();
        records.extend(extended.records);
        let said = |key: &str| pax::last(&records, key).map(<[u8]>::to_vec);
        let path = said("GNU.sparse.name").or_else(|| said("path"));
        let name = path.or(extended.name).unwrap_or_else(|| header.path_bytes().into_owned());
        let bad = |what: &str| format!("its member {} {what}", shown(&name));
        let wrong = |key: &str| bad(&format!("has a malformed {key} in its header"));
        let number = |key: &str, field: &[u8]| match said(key) {
            Some(text) => pax::number(&text).ok_or_else(|| wrong(key)),
            None => unsigned(field).ok_or_else(|| wrong(key)),
        };
        let time =
            |key: &str| said(key).map(|t| pax::time(&t).ok_or_else(|| wrong(key))).transpose();
        let bytes = header.as_bytes();
        let stored =
            said("size").map_or(Ok(size), |s| pax::number(&s).ok_or_else(|| wrong("size")))?;
        let link = || {
            said("linkpath")
                .or_else(|| extended.link.clone())
                .or_else(|| header.link_name_bytes().map(|l| l.into_owned()))
                .unwrap_or_default()
        };
        let kind = match kind {
            // Before there was a type for directories their names ended so.
            0 | b'0' | b'7' if name.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink(link()),
            b'2' => Kind::Symlink(link()),
            b'3' => Kind::Other("a character device"),
            b'4' => Kind::Other("a block device"),
            b'5' | b'D' => Kind::Directory,
            b'6' => Kind::Other("a fifo"),
            b'M' => Kind::Other("the rest of a file of another volume"),
            _ => Kind::Other("of a kind that is not known"),
        };
        let mut member = Member {
            mode: (unsigned(&bytes[100..108]).ok_or_else(|| wrong("mode"))? & 0o7777) as u32,
            uid: number("uid", &bytes[108..116])?.try_into().unwrap_or(u32::MAX - 1),
            gid: number("gid", &bytes[116..124])?.try_into().unwrap_or(u32::MAX - 1),
            mtime: match time("mtime")? {
                Some(time) => time,
                None => (signed(&bytes[136..148]).ok_or_else(|| wrong("mtime"))?, 0),
            },
            atime: time("atime")?,
            ctime: time("ctime")?,
            xattrs: xattrs(&records),
            has_acl: said("SCHILY.acl.access").is_some() || said("SCHILY.acl.default").is_some(),
            size: stored,
            stored,
            map: None,
            kind,
            name,
        };
        // Some writers give links the size of what they lead to, and nothing follows.
        if matches!(member.kind, Kind::HardLink(_) | Kind::Symlink(_)) {
            (member.size, member.stored) = (0, 0);
        }
        self.left = member.stored;
        self.padding = member.stored.wrapping_neg() % BLOCK as u64;
        if member.kind == Kind::File {
            self.holes(header, &records, &mut member)?;
        }
        Ok(member)
    }

    /// Takes what is said of a sparse file.
    fn holes(
        &mut self,
        header: &Header,
        records: &Records,
        member: &mut Member,
    ) -> Result<(), String> {
        let bad = |name: &[u8], what: &str| format!("its member {} {what}", shown(name));
        let malformed = "has a malformed map of its holes";
        let refuse = |()| bad(&member.name, malformed);
        let mut real = None;
        for key in ["GNU.sparse.realsize", "GNU.sparse.size"] {
            if let Some(text) = pax::last(records, key) {
                real = Some(pax::number(text).ok_or(()).map_err(refuse)?);
            }
        }
        let map = if header.as_bytes()[156] == b'S' {
            let gnu = header.as_gnu().ok_or(()).map_err(refuse)?;
            real = Some(unsigned(&gnu.realsize).ok_or(()).map_err(refuse)?);
            let mut map = Map::new();
            let add = |map: &mut Map, parts: &[tar::GnuSparseHeader]| {
                for part in parts.iter().take_while(|p| !p.is_empty()) {
                    map.push((unsigned(&part.offset)?, unsigned(&part.numbytes)?));
                }
                (map.len() < 1 << 20).then_some(())
            };
            add(&mut map, &gnu.sparse).ok_or(()).map_err(refuse)?;
            let mut more = gnu.is_extended();
            while more {
                let mut next = GnuExtSparseHeader::new();
                *next.as_mut_bytes() = self.block()?;
                add(&mut map, next.sparse()).ok_or(()).map_err(refuse)?;
                more = next.is_extended();
            }
            map
        } else if sparse::in_data(records) {
            let (map, blocks) =
                sparse::of_data(|| self.block()).map_err(|why| bad(&member.name, &why))?;
            let used = blocks * BLOCK as u64;
            member.stored = member.stored.checked_sub(used).ok_or(()).map_err(refuse)?;
            self.left = member.stored;
            map
        } else {
            match sparse::of_records(records).map_err(refuse)? {
                Some(map) => map,
                None => return Ok(()),
            }
        };
        let real = real.ok_or(()).map_err(refuse)?;
        if real > MOST_SPARSE {
            let what =
                format!("claims {}, more than any file system keeps", crate::text::bytes(real));
            return Err(bad(&member.name, &what));
        }
        if !sparse::is_possible(&map, real, member.stored) {
            return Err(refuse(()));
        }
        member.size = real;
        member.map = Some(map);
        Ok(())
    }

    fn block(&mut self) -> Result<[u8; BLOCK], String> {
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block).map_err(|e| compression::unreadable(&e))?;
        self.position += BLOCK as u64;
        Ok(block)
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>, String> {
        if size > MOST_EXTENDED {
            let claimed = crate::text::bytes(size);
            return Err(format!("it has an extended header that claims {claimed}"));
        }
        let mut bytes = Vec::new();
        let padded = size.next_multiple_of(BLOCK as u64);
        let read = self.input.take(padded).read_to_end(&mut bytes);
        read.map_err(|e| compression::unreadable(&e))?;
        self.position += padded;
        if (bytes.len() as u64) < padded {
            return Err("it is truncated: copy or make it anew".into());
        }
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    fn records(&mut self, size: u64) -> Result<Records, String> {
        let bytes = self.extended(size)?;
        pax::parse(&bytes).ok_or_else(|| {
            format!("it has a malformed extended header before byte {} of the tar", self.position)
        })
    }

    fn skip(&mut self, mut n: u64) -> Result<(), String> {
        let mut waste = [0; 16 << 10];
        while n > 0 {
            let most = n.min(waste.len() as u64) as usize;
            let read = self.input.read_exact(&mut waste[..most]);
            read.map_err(|e| compression::unreadable(&e))?;
            self.position += most as u64;
            n -= most as u64;
        }
        Ok(())
    }

    /// Reads to the end of the input: what comes late (a checksum, a truncation) is noticed only so.
    fn end(&mut self) -> Result<(), String> {
        let mut rest = [0; 16 << 10];
        let mut padding = 0;
        loop {
            let n = self.input.read(&mut rest).map_err(|e| compression::unreadable(&e))?;
            if n == 0 {
                return Ok(());
            }
            padding += n as u64;
            self.position += n as u64;
            if rest[..n].iter().any(|b| *b != 0) || padding > MOST_PADDING {
                return Err(
                    "something stands behind its end, perhaps another tar: make it anew".into()
                );
            }
        }
    }
}

/// Whether a block is a tar header, by its checksum. Some old writers summed up signed bytes.
#[must_use]
pub fn is_header(block: &[u8; BLOCK]) -> bool {
    let summed = |i: usize, b: u8| if (148..156).contains(&i) { b' ' } else { b };
    let sum: u64 = block.iter().enumerate().map(|(i, b)| u64::from(summed(i, *b))).sum();
    let signed: i64 = block.iter().enumerate().map(|(i, b)| i64::from(summed(i, *b) as i8)).sum();
    let said = octal(&block[148..156]);
    said.is_some_and(|said| said == sum || i64::try_from(said) == Ok(signed))
        && block[148..156].iter().any(u8::is_ascii_digit)
}

fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let text = field[..end].trim_ascii();
    text.iter().try_fold(0u64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

/// A number in octal digits, or for large and negative ones in binary, as GNU tar and star write them.
fn signed(field: &[u8]) -> Option<i64> {
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

fn unsigned(field: &[u8]) -> Option<u64> {
    signed(field)?.try_into().ok()
}

/// A long name ends with a NUL, behind which nothing may stand.
fn until_nul(mut name: Vec<u8>) -> Result<Vec<u8>, String> {
    while name.last() == Some(&0) {
        name.pop();
    }
    match name.contains(&0) {
        true => Err(format!("its member {} has a NUL in its name", shown(&name))),
        false => Ok(name),
    }
}

/// GNU tar writes `=` and `%` in the names of attributes as in URLs.
fn xattrs(records: &Records) -> Records {
    let mut found: Records = Vec::new();
    for (key, value) in records {
        let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else { continue };
        let text = String::from_utf8_lossy(name).replace("%3D", "=").replace("%25", "%");
        let name = if name.contains(&b'%') { text.into_bytes() } else { name.to_vec() };
        found.retain(|(known, _)| *known != name);
        found.push((name, value.clone()));
    }
    found
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
        let mut header = Header::new_ustar();
        header.set_cksum();
        assert!(is_header(header.as_bytes()));
        let mut other = *header.as_bytes();
        other[0] ^= 1;
        assert!(!is_header(&other) && !is_header(&[0; 512]));
    }

    #[test]
    fn names_of_attributes_are_unescaped() {
        let records = pax::parse(b"36 SCHILY.xattr.user.a%3Db%25=value\n").unwrap();
        assert_eq!(xattrs(&records), [(b"user.a=b%".to_vec(), b"value".to_vec())]);
    }
}
