//! Reads the members of a tar in the order of the stream: v7, ustar, pax and GNU headers with their long names, large
//! numbers and sparse files.
//!
//! Invariants:
//! - A malformed header ends the reading; nothing is guessed.
//! - No memory is allocated for the length that a header claims before the bytes arrive.
#![forbid(unsafe_code)]

use std::io::Read;

use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader, Header};

use crate::archive::error::{ArchiveError, MemberProblem};
use crate::archive::header::{BLOCK, is_header, signed, unsigned};
use crate::archive::pax::Records;
use crate::archive::sparse::{MOST_PARTS, Map, MapError};
use crate::archive::{pax, sparse};

/// The largest extended header or long name, in bytes.
const MOST_EXTENDED: u64 = 4 << 20;
/// The most bytes of zeros after the end; programs pad their last record with zeros.
const MOST_PADDING: u64 = 64 << 20;
/// The largest sparse file, in bytes.
const MOST_SPARSE: u64 = 1 << 44;

type Result<T> = std::result::Result<T, ArchiveError>;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// Another name of the member with this name.
    HardLink(Vec<u8>),
    /// A member that cannot be staged; the text says what it is.
    Other(&'static str),
}

/// A member without its data.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name as the tar has it.
    pub name: Vec<u8>,
    /// Its type.
    pub kind: MemberKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size of the file in bytes, holes included.
    pub size: u64,
    /// Bytes of data that follow the header.
    pub stored: u64,
    /// The parts of a sparse file that have data.
    pub map: Option<Map>,
    /// Last modification, in seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Last access, where the tar records it.
    pub atime: Option<(i64, u32)>,
    /// Last status change, where the tar records it.
    pub ctime: Option<(i64, u32)>,
    /// Extended attributes.
    pub xattrs: Records,
    /// Whether the tar records an access control list, as text.
    pub has_acl: bool,
}

/// Reads one member after another.
pub struct Members<'a> {
    input: &'a mut dyn Read,
    /// Bytes of the current member's data that are not read yet.
    left: u64,
    /// Bytes of padding after that data.
    padding: u64,
    /// Bytes read so far.
    position: u64,
    global: Records,
}

/// What the extended headers before a member's own header say about the member.
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

    /// Bytes of the tar that were read so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads the next member; `None` after the last one, when the whole input has been read.
    ///
    /// # Errors
    /// The reason why the archive is refused.
    #[allow(clippy::should_implement_trait, reason = "an iterator would continue after an error")]
    pub fn next(&mut self) -> Result<Option<Member>> {
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
                return Err(ArchiveError::NoHeader(self.position - BLOCK as u64));
            }
            let header = Header::from_byte_slice(&block);
            let size = unsigned(&block[124..136])
                .ok_or_else(|| ArchiveError::member(&header.path_bytes(), MemberProblem::Size))?;
            let kind = block[156];
            match kind {
                b'L' => extended.name = Some(trim_nuls(self.extended(size)?)?),
                b'K' => extended.link = Some(trim_nuls(self.extended(size)?)?),
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

    /// Reads the next bytes of the current member's data and returns their number; 0 after the last.
    ///
    /// # Errors
    /// When the archive is damaged, or ends before the data does.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let n = self.input.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(ArchiveError::Truncated);
        }
        self.left -= n as u64;
        self.position += n as u64;
        Ok(n)
    }

    /// Combines a member's own header with the extended headers before it.
    fn member(
        &mut self,
        header: &Header,
        kind: u8,
        size: u64,
        extended: Extended,
    ) -> Result<Member> {
        let mut records = self.global.clone();
        records.extend(extended.records);
        let said = |key: &str| pax::last(&records, key).map(<[u8]>::to_vec);
        let path = said("GNU.sparse.name").or_else(|| said("path"));
        let name = path.or(extended.name).unwrap_or_else(|| header.path_bytes().into_owned());
        let malformed = |key| ArchiveError::member(&name, MemberProblem::MalformedField(key));
        let number = |key: &'static str, field: &[u8]| match said(key) {
            Some(text) => pax::number(&text).ok_or_else(|| malformed(key)),
            None => unsigned(field).ok_or_else(|| malformed(key)),
        };
        let time = |key: &'static str| {
            said(key).map(|t| pax::time(&t).ok_or_else(|| malformed(key))).transpose()
        };
        let bytes = header.as_bytes();
        let stored =
            said("size").map_or(Ok(size), |s| pax::number(&s).ok_or_else(|| malformed("size")))?;
        let link = || {
            said("linkpath")
                .or_else(|| extended.link.clone())
                .or_else(|| header.link_name_bytes().map(|l| l.into_owned()))
                .unwrap_or_default()
        };
        let kind = kind_of(kind, &name, link);
        let mut member = Member {
            mode: (unsigned(&bytes[100..108]).ok_or_else(|| malformed("mode"))? & 0o7777) as u32,
            uid: number("uid", &bytes[108..116])?.try_into().unwrap_or(u32::MAX - 1),
            gid: number("gid", &bytes[116..124])?.try_into().unwrap_or(u32::MAX - 1),
            mtime: match time("mtime")? {
                Some(time) => time,
                None => (signed(&bytes[136..148]).ok_or_else(|| malformed("mtime"))?, 0),
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
        // Some programs record the size of the file to which a link leads, although no data follows.
        if matches!(member.kind, MemberKind::HardLink(_) | MemberKind::Symlink(_)) {
            (member.size, member.stored) = (0, 0);
        }
        self.left = member.stored;
        self.padding = member.stored.wrapping_neg() % BLOCK as u64;
        if member.kind == MemberKind::File {
            self.find_holes(header, &records, &mut member).map_err(|error| match error {
                MapError::Archive(error) => error,
                MapError::Member(problem) => ArchiveError::member(&member.name, problem),
            })?;
        }
        Ok(member)
    }

    /// Reads the map of a sparse file, and sets the member's size and stored bytes by the map.
    fn find_holes(
        &mut self,
        header: &Header,
        records: &Records,
        member: &mut Member,
    ) -> std::result::Result<(), MapError> {
        let mut size = None;
        for key in ["GNU.sparse.realsize", "GNU.sparse.size"] {
            if let Some(text) = pax::last(records, key) {
                size = Some(pax::number(text).ok_or(MapError::MALFORMED)?);
            }
        }
        let map = if header.as_bytes()[156] == b'S' {
            let gnu = header.as_gnu().ok_or(MapError::MALFORMED)?;
            size = Some(unsigned(&gnu.realsize).ok_or(MapError::MALFORMED)?);
            self.gnu_map(gnu)?
        } else if sparse::in_data(records) {
            let (map, blocks) = sparse::of_data(|| self.block())?;
            let used = blocks * BLOCK as u64;
            member.stored = member.stored.checked_sub(used).ok_or(MapError::MALFORMED)?;
            self.left = member.stored;
            map
        } else {
            match sparse::of_records(records)? {
                Some(map) => map,
                None => return Ok(()),
            }
        };
        let size = size.ok_or(MapError::MALFORMED)?;
        if size > MOST_SPARSE {
            return Err(MapError::Member(MemberProblem::LargeSparse(size)));
        }
        if !sparse::is_possible(&map, size, member.stored) {
            return Err(MapError::MALFORMED);
        }
        member.size = size;
        member.map = Some(map);
        Ok(())
    }

    /// Reads the map in an old GNU header and the blocks that extend it.
    fn gnu_map(&mut self, header: &GnuHeader) -> std::result::Result<Map, MapError> {
        let mut map = Map::new();
        let add = |map: &mut Map, parts: &[GnuSparseHeader]| {
            for part in parts.iter().take_while(|p| !p.is_empty()) {
                map.push((unsigned(&part.offset)?, unsigned(&part.numbytes)?));
            }
            ((map.len() as u64) < MOST_PARTS).then_some(())
        };
        add(&mut map, &header.sparse).ok_or(MapError::MALFORMED)?;
        let mut more = header.is_extended();
        while more {
            let mut next = GnuExtSparseHeader::new();
            *next.as_mut_bytes() = self.block()?;
            add(&mut map, next.sparse()).ok_or(MapError::MALFORMED)?;
            more = next.is_extended();
        }
        Ok(map)
    }

    fn block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block)?;
        self.position += BLOCK as u64;
        Ok(block)
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MOST_EXTENDED {
            return Err(ArchiveError::LargeHeader(size));
        }
        let mut bytes = Vec::new();
        let padded = size.next_multiple_of(BLOCK as u64);
        self.input.take(padded).read_to_end(&mut bytes)?;
        self.position += padded;
        if (bytes.len() as u64) < padded {
            return Err(ArchiveError::Truncated);
        }
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    fn records(&mut self, size: u64) -> Result<Records> {
        let bytes = self.extended(size)?;
        pax::parse(&bytes).ok_or(ArchiveError::MalformedHeader(self.position))
    }

    fn skip(&mut self, mut n: u64) -> Result<()> {
        let mut waste = [0; 16 << 10];
        while n > 0 {
            let most = n.min(waste.len() as u64) as usize;
            self.input.read_exact(&mut waste[..most])?;
            self.position += most as u64;
            n -= most as u64;
        }
        Ok(())
    }

    /// Reads to the end of the input, so that a wrong checksum or a truncation is noticed.
    fn end(&mut self) -> Result<()> {
        let mut rest = [0; 16 << 10];
        let mut padding = 0;
        loop {
            let n = self.input.read(&mut rest)?;
            if n == 0 {
                return Ok(());
            }
            padding += n as u64;
            self.position += n as u64;
            if rest[..n].iter().any(|b| *b != 0) || padding > MOST_PADDING {
                return Err(ArchiveError::TrailingData);
            }
        }
    }
}

/// The kind of a member by the type in its header; `link` returns the target of a link.
fn kind_of(header_type: u8, name: &[u8], link: impl FnOnce() -> Vec<u8>) -> MemberKind {
    match header_type {
        // Old tars have no type for directories: their names end with a slash.
        0 | b'0' | b'7' if name.ends_with(b"/") => MemberKind::Directory,
        0 | b'0' | b'7' | b'S' => MemberKind::File,
        b'1' => MemberKind::HardLink(link()),
        b'2' => MemberKind::Symlink(link()),
        b'3' => MemberKind::Other("a character device"),
        b'4' => MemberKind::Other("a block device"),
        b'5' | b'D' => MemberKind::Directory,
        b'6' => MemberKind::Other("a fifo"),
        b'M' => MemberKind::Other("the rest of a file of another volume"),
        _ => MemberKind::Other("of a type that is not known"),
    }
}

/// Removes the NULs at the end of a long name; refuses a name with a NUL at another place.
fn trim_nuls(mut name: Vec<u8>) -> Result<Vec<u8>> {
    while name.last() == Some(&0) {
        name.pop();
    }
    if name.contains(&0) {
        return Err(ArchiveError::member(&name, MemberProblem::NulInName));
    }
    Ok(name)
}

/// Extracts the extended attributes. GNU tar escapes `=` and `%` in their names as URLs do.
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
    fn names_of_attributes_are_unescaped() {
        let records = pax::parse(b"36 SCHILY.xattr.user.a%3Db%25=value\n").unwrap();
        assert_eq!(xattrs(&records), [(b"user.a=b%".to_vec(), b"value".to_vec())]);
    }
}
