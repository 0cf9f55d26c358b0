//! Reads a bundle's file once, from its first byte to its last, and learns its content before the first frame.
#![forbid(unsafe_code)]

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::archive::members::Members;
use crate::archive::walk::{Sink, walk};
use crate::archive::{Archive, Compression, Placement, Scope};
use crate::bundle::error::BundleError;
use crate::bundle::head;
use crate::bundle::head::Head;
use crate::bundle::named::Named;
use crate::bundle::size::Size;
use crate::error::{Error, Result};
use crate::instrument::timeline;
use crate::instrument::timeline::Phase;
use crate::manifest::Manifest;
use crate::manifest::prefix::PrefixRecord;

/// Bytes of a foreign tar that are read to learn how its members are named.
const LOOK: u64 = 1 << 20;

/// The kind of a bundle's file.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a job has few of them")]
pub enum Content {
    /// A bundle that pyshm made, with its manifest.
    Bundle(Manifest),
    /// A foreign tar.
    Archive(Archive),
}

/// An open bundle.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    length: u64,
    content: Content,
    /// The bytes that were read to learn the content and that the caller has not read yet.
    start: Vec<u8>,
    /// Bytes that the caller has read.
    given: u64,
}

impl Reader {
    /// Opens a bundle. Checks its head, its manifest, and that the file has the length that head and manifest give. For
    /// a foreign tar, learns how the members are named.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the file cannot be read, [`Error::BadBundle`] when the file is not a whole bundle.
    pub fn open(named: &Named) -> Result<Self> {
        let path = &named.path;
        let failed = |cause| Error::NoInput { what: "bundle", path: path.clone(), cause };
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::bundle(path, BundleError::NotAFile));
        }
        let mut start = Vec::with_capacity(head::MAX_BYTES);
        (&mut file).take(head::MAX_BYTES as u64).read_to_end(&mut start).map_err(failed)?;
        let (content, length) = if Head::is_head(&start) {
            let (manifest, length) = read_manifest(named, &file, &metadata, &mut start)?;
            (Content::Bundle(manifest), length)
        } else {
            let archive = describe_archive(named, &file, &metadata, &mut start)?;
            (Content::Archive(archive), metadata.len())
        };
        Ok(Self { path: path.clone(), file, length, content, start, given: 0 })
    }

    /// The path by which the user named the bundle.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file is.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// What nodes need to know about a foreign tar; `None` for a bundle that pyshm made.
    #[must_use]
    pub fn archive(&self) -> Option<&Archive> {
        match &self.content {
            Content::Archive(archive) => Some(archive),
            Content::Bundle(_) => None,
        }
    }

    /// The prefixes that the bundle covers.
    #[must_use]
    pub fn prefixes(&self) -> &[PrefixRecord] {
        match &self.content {
            Content::Bundle(manifest) => &manifest.prefixes,
            Content::Archive(archive) => std::slice::from_ref(&archive.placement.prefix),
        }
    }

    /// The space that the bundle takes in a stage. For a foreign tar this is a lower bound, the size of the file, since
    /// the size that the tar claims (in gzip's trailer or zstd's header) may be wrong.
    #[must_use]
    pub fn size(&self) -> Size {
        match &self.content {
            Content::Bundle(manifest) => Size {
                bytes: manifest.unpacked_bytes(),
                entries: manifest.entries.len() as u64,
                at_least: false,
            },
            Content::Archive(_) => Size { bytes: self.length, entries: 1, at_least: true },
        }
    }

    /// Reads a foreign tar to its end and passes its members to `sink`. Returns a manifest without frames, and a
    /// warning for the user.
    ///
    /// # Errors
    /// As [`walk`], and [`Error::Usage`] for a bundle that pyshm made.
    pub fn survey(mut self, sink: &mut dyn Sink) -> Result<(Manifest, Option<String>)> {
        let Content::Archive(archive) = &self.content else {
            let path = self.path.display();
            return Err(Error::Usage(format!("failed to survey {path}: it was made by pyshm")));
        };
        let start = std::mem::take(&mut self.start);
        let rest = BufReader::with_capacity(1 << 20, &self.file);
        let input = BufReader::new(io::Cursor::new(start).chain(rest));
        let mut tar =
            archive.compression.decoder(input).map_err(Error::read("bundle", &self.path))?;
        walk(&self.path, self.length, archive, &mut *tar, sink)
    }

    /// Bytes of the whole file.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a bundle is never empty")]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Reads the next bytes of the file, at most `max`; `None` after the last.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the file cannot be read, [`Error::BadBundle`] when the file became shorter after it was
    /// opened.
    pub fn read_chunk(&mut self, max: usize) -> Result<Option<Vec<u8>>> {
        let _busy = timeline::busy(Phase::Read);
        let wanted = (self.length - self.given).min(max as u64) as usize;
        if wanted == 0 {
            return Ok(None);
        }
        let mut chunk: Vec<u8> = self.start.drain(..self.start.len().min(wanted)).collect();
        chunk.reserve_exact(wanted - chunk.len());
        let missing = (wanted - chunk.len()) as u64;
        let failed = |cause| Error::NoInput { what: "bundle", path: self.path.clone(), cause };
        (&mut self.file).take(missing).read_to_end(&mut chunk).map_err(failed)?;
        if chunk.len() != wanted {
            return Err(Error::bundle(&self.path, BundleError::Shrunk));
        }
        self.given += wanted as u64;
        Ok(Some(chunk))
    }
}

/// Reads the rest of head and manifest into `start`. Returns the manifest, and the length that the file must have.
fn read_manifest(
    named: &Named,
    file: &File,
    metadata: &Metadata,
    start: &mut Vec<u8>,
) -> Result<(Manifest, u64)> {
    let refused = |why: BundleError| Error::bundle(&named.path, why);
    let head = Head::parse(start).map_err(refused)?;
    let end = Head::len(head.codec) as u64 + head.packed;
    let missing = end.saturating_sub(start.len() as u64);
    // Reserving the space makes one read instead of one for each growth of the buffer. The file's length limits the
    // space, since the head may claim more bytes than the file has.
    start.reserve_exact(missing.min(metadata.len()) as usize);
    file.take(missing).read_to_end(start).map_err(Error::read("bundle", &named.path))?;
    let manifest = manifest_of(&head, start).map_err(refused)?;
    let expected = end + manifest.frames.iter().map(|f| u64::from(f.packed)).sum::<u64>();
    let is = metadata.len();
    if is < expected {
        return Err(refused(BundleError::Short { is, expected }));
    }
    if is > expected {
        return Err(refused(BundleError::Long { is, expected }));
    }
    check_agreement(named, &manifest).map_err(refused)?;
    Ok((manifest, expected))
}

/// Checks that the user's options for a bundle agree with its manifest.
fn check_agreement(named: &Named, manifest: &Manifest) -> Result<(), BundleError> {
    let agrees = |prefix: &PathBuf| {
        let real = std::fs::canonicalize(prefix).unwrap_or_else(|_| prefix.clone());
        manifest.prefixes.iter().any(|p| p.spellings().any(|s| s == real || s == prefix))
    };
    if let Some(prefix) = named.prefix.as_ref().filter(|prefix| !agrees(prefix)) {
        let own = manifest.prefixes[0].path().to_path_buf();
        return Err(BundleError::OtherPrefix { own, named: prefix.clone() });
    }
    if named.layer && manifest.layer.is_none() {
        return Err(BundleError::NotALayer);
    }
    Ok(())
}

/// Reads the first members of a foreign tar into `start`. They show how the tar is compressed and how its members are
/// named.
fn describe_archive(
    named: &Named,
    file: &File,
    metadata: &Metadata,
    start: &mut Vec<u8>,
) -> Result<Archive> {
    let refused = |why: BundleError| Error::bundle(&named.path, why);
    let failed = |cause| Error::NoInput { what: "bundle", path: named.path.clone(), cause };
    start.reserve_exact(LOOK.min(metadata.len()) as usize);
    file.take(LOOK).read_to_end(start).map_err(failed)?;
    let compression = Compression::of(start).map_err(|why| refused(why.into()))?;
    let prefix = named.prefix.as_ref().ok_or_else(|| refused(BundleError::UnknownPrefix))?;
    let mut placement = Placement::below(prefix)?;
    let mut tar = compression.decoder(&start[..]).map_err(failed)?;
    placement.learn(&mut Members::new(&mut *tar));
    let scope = if named.layer { Scope::Layer } else { Scope::Whole };
    let written = (metadata.mtime(), metadata.mtime_nsec());
    Ok(Archive { compression, placement, scope, written })
}

/// Unpacks and checks the manifest from the bytes of head and frame 0.
///
/// # Errors
/// The reason why the manifest is refused.
pub fn manifest_of(head: &Head, start: &[u8]) -> Result<Manifest, BundleError> {
    let from = Head::len(head.codec);
    let packed = start.get(from..from + head.packed as usize).ok_or(BundleError::Truncated)?;
    if *blake3::hash(packed).as_bytes() != head.digest {
        return Err(BundleError::DamagedManifest);
    }
    let undecodable = BundleError::UndecodableManifest;
    let raw = head.codec.decompress(packed, head.raw as usize).map_err(undecodable)?;
    let mut archive = tar::Archive::new(&raw[..]);
    let mut entries = archive.entries().map_err(undecodable)?;
    let member = entries.next().ok_or(BundleError::DamagedManifest)?.map_err(undecodable)?;
    let (at, len) = (member.raw_file_position() as usize, member.size() as usize);
    let bytes = raw.get(at..at.saturating_add(len)).ok_or(BundleError::DamagedManifest)?;
    Ok(Manifest::parse(bytes)?)
}
