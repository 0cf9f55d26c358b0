//! Walks an archive once, adds each member to the catalog, and passes directories and file data to a [`Sink`].
#![forbid(unsafe_code)]

use std::io::Read;
use std::path::Path;

use indicatif::ProgressBar;

use crate::archive::catalog::Catalog;
use crate::archive::compression::Compression;
use crate::archive::description::Archive;
use crate::archive::error::ArchiveError;
use crate::archive::members::Members;
use crate::archive::sparse::Map;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::manifest::entry::EntryRecord;
use crate::text::shown;

/// A compressed archive may unpack to this many times its size.
const MOST_RATIO: u64 = 250;
/// A compressed archive of any size may unpack to this many bytes.
const RATIO_FROM: u64 = 1 << 30;

/// What a sink reports of a file's data.
#[derive(Default)]
pub struct FileSummary {
    /// blake3 of the data; zero where the sink does not compute it.
    pub digest: [u8; 32],
    /// The absolute search path of an ELF file, as in [`crate::manifest::entry::EntryKind::File`].
    pub runpath: Option<Vec<u8>>,
}

/// Receives the directories and files of an archive. An error ends the walk.
pub trait Sink {
    /// Checks, before the member `name` is made, that its `size` bytes fit. `stored` of these bytes are data, the
    /// others are holes.
    ///
    /// # Errors
    /// When the member does not fit.
    fn reserve(&mut self, name: &str, size: u64, stored: u64) -> Result<()>;
    /// Receives a new directory.
    ///
    /// # Errors
    /// When the directory cannot be made.
    fn directory(&mut self, entry: &EntryRecord) -> Result<()>;
    /// Receives a regular file. The walk skips data that the sink does not read.
    ///
    /// # Errors
    /// When the file cannot be written, and the errors of [`FileData::next`].
    fn file(&mut self, entry: &EntryRecord, data: &mut FileData<'_, '_>) -> Result<FileSummary>;
}

/// The data of a file in pieces, in the order of the file.
pub struct FileData<'a, 'b> {
    bundle: &'a Path,
    members: &'a mut Members<'b>,
    parts: Map,
    part: usize,
    done: u64,
}

impl FileData<'_, '_> {
    /// Fills `buffer` with bytes of one part of the file, and returns their offset in the file and their number; `None`
    /// after the last.
    ///
    /// # Errors
    /// [`Error::BadBundle`] when the archive ends too early.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<Option<(u64, usize)>> {
        loop {
            let Some((offset, length)) = self.parts.get(self.part).copied() else {
                return Ok(None);
            };
            let at = offset + self.done;
            let wanted =
                usize::try_from(length - self.done).unwrap_or(usize::MAX).min(buffer.len());
            if wanted == 0 {
                (self.part, self.done) = (self.part + 1, 0);
                continue;
            }
            let mut filled = 0;
            while filled < wanted {
                let read = self.members.read(&mut buffer[filled..wanted]);
                match read.map_err(|why| Error::bundle(self.bundle, why))? {
                    0 => return Err(Error::bundle(self.bundle, ArchiveError::Truncated)),
                    n => filled += n,
                }
            }
            self.done += filled as u64;
            return Ok(Some((at, filled)));
        }
    }
}

/// Walks the tar whose decompressed bytes come from `input`; the compressed file has `length` bytes. Returns a manifest
/// without frames, and a warning for the user, if there is one.
///
/// # Errors
/// [`Error::BadBundle`] when the archive breaks a rule, and the errors of the sink.
pub fn walk(
    bundle: &Path,
    length: u64,
    archive: &Archive,
    input: &mut dyn Read,
    sink: &mut dyn Sink,
) -> Result<(Manifest, Option<String>)> {
    let refused = |why: ArchiveError| Error::bundle(bundle, why);
    let mut members = Members::new(input);
    let mut catalog = Catalog::new(archive);
    sink.directory(catalog.entry(0))?;
    let most = length.saturating_mul(MOST_RATIO).max(RATIO_FROM);
    let mut stored = 0u64;
    while let Some(member) = members.next().map_err(refused)? {
        let name = shown(&member.name);
        let added = catalog.add(&member).map_err(refused)?;
        sink.reserve(&name, member.size, member.stored)?;
        stored = stored.saturating_add(member.stored);
        let is_compressed = archive.compression != Compression::None;
        if is_compressed && stored.max(members.position()) > most {
            let (ratio, name) = (MOST_RATIO, member.name);
            return Err(refused(ArchiveError::Expansion { ratio, unpacked: stored, name }));
        }
        for number in added.directories {
            sink.directory(catalog.entry(number))?;
        }
        if let Some(number) = added.file {
            let parts = member.map.unwrap_or_else(|| vec![(0, member.size)]);
            let mut data = FileData { bundle, members: &mut members, parts, part: 0, done: 0 };
            let summary = sink.file(catalog.entry(number), &mut data)?;
            catalog.set_data(number, summary.digest, summary.runpath);
        }
    }
    let warning = catalog.warning();
    let manifest = catalog.finish();
    // This manifest must keep the same rules as one that pyshm wrote.
    manifest.check_tree().map_err(|why| refused(why.into()))?;
    Ok((manifest, warning))
}

/// A sink that computes the digest of each file and writes nothing.
pub struct DigestSink {
    piece: Vec<u8>,
    bar: ProgressBar,
}

impl DigestSink {
    /// Makes a sink that shows its progress on `bar`.
    #[must_use]
    pub fn new(bar: ProgressBar) -> Self {
        Self { piece: vec![0; 1 << 20], bar }
    }
}

impl Sink for DigestSink {
    fn reserve(&mut self, _: &str, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    fn directory(&mut self, _: &EntryRecord) -> Result<()> {
        Ok(())
    }

    fn file(&mut self, entry: &EntryRecord, data: &mut FileData<'_, '_>) -> Result<FileSummary> {
        let (mut hash, mut end) = (blake3::Hasher::new(), 0);
        while let Some((at, n)) = data.next(&mut self.piece)? {
            hash_zeros(&mut hash, at - end)?;
            hash.update(&self.piece[..n]);
            self.bar.inc(n as u64);
            end = at + n as u64;
        }
        hash_zeros(&mut hash, entry.stat.size.saturating_sub(end))?;
        Ok(FileSummary { digest: *hash.finalize().as_bytes(), runpath: None })
    }
}

/// Hashes the zeros of a hole.
fn hash_zeros(hash: &mut blake3::Hasher, count: u64) -> Result<()> {
    std::io::copy(&mut std::io::repeat(0).take(count), hash)
        .map(drop)
        .map_err(Error::system("compute a digest"))
}
