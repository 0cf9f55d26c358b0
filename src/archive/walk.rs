//! One pass over an archive: each member is taken by the catalog, and what it brings is handed to a [`Sink`].
#![forbid(unsafe_code)]

use std::io::Read;
use std::path::Path;

use indicatif::ProgressBar;

use crate::archive::catalog::Catalog;
use crate::archive::members::Members;
use crate::archive::sparse::Map;
use crate::archive::{Compression, Placement};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::manifest::entry::EntryRecord;
use crate::text::shown;

/// An archive may unpack to so many times its size …
const MOST_RATIO: u64 = 250;
/// … where it is more than this at all.
const RATIO_FROM: u64 = 1 << 30;

/// What a sink says of a file that it has taken.
#[derive(Default)]
pub struct Taken {
    /// blake3 of the data; zero where nobody needs it.
    pub digest: [u8; 32],
    /// As in [`crate::manifest::entry::EntryKind::File`].
    pub runpath: Option<Vec<u8>>,
}

/// Where an archive goes.
pub trait Sink {
    /// Before anything of a member is made: whether there is room.
    ///
    /// # Errors
    /// Ends the walk.
    fn reserve(&mut self, name: &str, size: u64, stored: u64) -> Result<()>;
    /// A directory that was not there before.
    ///
    /// # Errors
    /// Ends the walk.
    fn directory(&mut self, entry: &EntryRecord) -> Result<()>;
    /// A regular file; what of its data is not read here is skipped.
    ///
    /// # Errors
    /// Ends the walk.
    fn file(&mut self, entry: &EntryRecord, data: &mut Data<'_, '_>) -> Result<Taken>;
}

/// The data of a file in pieces, as they stand in it.
pub struct Data<'a, 'b> {
    bundle: &'a Path,
    members: &'a mut Members<'b>,
    parts: Map,
    part: usize,
    done: u64,
}

impl Data<'_, '_> {
    /// Fills `buffer` as far as one part of the file reaches; returns the offset and the number of bytes, `None`
    /// behind the last.
    ///
    /// # Errors
    /// [`Error::BadBundle`] when the archive ends before.
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
                    0 => return Err(Error::bundle(self.bundle, "it is truncated")),
                    n => filled += n,
                }
            }
            self.done += filled as u64;
            return Ok(Some((at, filled)));
        }
    }
}

/// Walks the tar that comes from `input`, of a bundle of `length` bytes, a layer or all of its prefix, and returns it as a
/// manifest with what people should be warned of.
///
/// # Errors
/// [`Error::BadBundle`] for what is wrong with it, and the sink's.
pub fn walk(
    bundle: &Path,
    length: u64,
    compression: Compression,
    placement: &Placement,
    is_layer: bool,
    input: &mut dyn Read,
    sink: &mut dyn Sink,
) -> Result<(Manifest, Option<String>)> {
    let refused = |why| Error::bundle(bundle, why);
    let mut members = Members::new(input);
    let mut catalog = Catalog::new(placement, is_layer);
    sink.directory(catalog.entry(0))?;
    let most = length.saturating_mul(MOST_RATIO).max(RATIO_FROM);
    let mut stored = 0u64;
    while let Some(member) = members.next().map_err(refused)? {
        let name = shown(&member.name);
        let added = catalog.add(&member).map_err(refused)?;
        sink.reserve(&name, member.size, member.stored)?;
        stored = stored.saturating_add(member.stored);
        if compression != Compression::None && stored.max(members.position()) > most {
            return Err(refused(format!(
                "it unpacks to more than {MOST_RATIO} times its size, and to {} with its member {name}: if that is meant, \
                 make it with 'pyshm bundle env'",
                crate::text::bytes(stored)
            )));
        }
        for number in added.directories {
            sink.directory(catalog.entry(number))?;
        }
        if let Some(number) = added.file {
            let parts = member.map.unwrap_or_else(|| vec![(0, member.size)]);
            let mut data = Data { bundle, members: &mut members, parts, part: 0, done: 0 };
            let taken = sink.file(catalog.entry(number), &mut data)?;
            catalog.describe(number, taken.digest, taken.runpath);
        }
    }
    let warning = catalog.warning();
    let manifest = catalog.finish(compression);
    // All that a manifest of ours must be.
    manifest.check_tree().map_err(refused)?;
    Ok((manifest, warning))
}

/// Writes nothing, and says the digest of each file.
pub struct Digests {
    piece: Vec<u8>,
    bar: ProgressBar,
}

impl Digests {
    /// Counts the bytes of files on `bar`.
    #[must_use]
    pub fn new(bar: ProgressBar) -> Self {
        Self { piece: vec![0; 1 << 20], bar }
    }
}

impl Sink for Digests {
    fn reserve(&mut self, _: &str, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    fn directory(&mut self, _: &EntryRecord) -> Result<()> {
        Ok(())
    }

    fn file(&mut self, entry: &EntryRecord, data: &mut Data<'_, '_>) -> Result<Taken> {
        let (mut hash, mut end) = (blake3::Hasher::new(), 0);
        while let Some((at, n)) = data.next(&mut self.piece)? {
            zeros(&mut hash, at - end)?;
            hash.update(&self.piece[..n]);
            self.bar.inc(n as u64);
            end = at + n as u64;
        }
        zeros(&mut hash, entry.stat.size.saturating_sub(end))?;
        Ok(Taken { digest: *hash.finalize().as_bytes(), runpath: None })
    }
}

/// What reads of a hole give.
fn zeros(hash: &mut blake3::Hasher, count: u64) -> Result<()> {
    std::io::copy(&mut std::io::repeat(0).take(count), hash)
        .map(drop)
        .map_err(Error::system("compute a digest"))
}
