//! Reads a bundle's file once, from its first byte to its last, and says beforehand what is in it.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::archive::members::Members;
use crate::archive::walk::{Sink, walk};
use crate::archive::{Compression, Placement};
use crate::bundle::head;
use crate::bundle::head::Head;
use crate::bundle::named::Named;
use crate::error::{Error, Result};
use crate::instrument::timeline;
use crate::instrument::timeline::Phase;
use crate::manifest::Manifest;
use crate::manifest::prefix::PrefixRecord;

/// Bytes of an archive that are read to learn how its members are named.
const LOOK: u64 = 1 << 20;

/// What a file is.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few of them")]
pub enum Content {
    /// A bundle of ours, with what it says of itself.
    Bundle(Manifest),
    /// A tar that others made.
    Archive(Archive),
}

/// What a node needs to know of a tar that others made before its bytes arrive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Archive {
    /// How it is compressed.
    pub compression: Compression,
    /// Where its members belong.
    pub placement: Placement,
    /// It only says what changed since the bundles before it.
    pub layer: bool,
    /// When the file was written, seconds and nanoseconds: what changed later is not in it.
    pub written: (i64, i64),
}

/// What bundles take in a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Bytes of the files.
    pub bytes: u64,
    /// Number of the paths.
    pub entries: u64,
    /// It may be more: how much is not known before all is unpacked.
    pub at_least: bool,
}

impl std::iter::Sum for Size {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), |a, b| Self {
            bytes: a.bytes.saturating_add(b.bytes),
            entries: a.entries.saturating_add(b.entries),
            at_least: a.at_least || b.at_least,
        })
    }
}

/// An open bundle.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    length: u64,
    content: Content,
    /// What was read to learn the manifest and not yet handed out.
    start: Vec<u8>,
    given: u64,
}

impl Reader {
    /// Opens a bundle, reads and checks head and manifest, and that the file is as long as they say; or looks how
    /// the members of a tar are named that others made.
    ///
    /// # Errors
    /// [`Error::NoInput`] when it cannot be read, [`Error::BadBundle`] when it is not a whole bundle.
    pub fn open(named: &Named) -> Result<Self> {
        let path = &named.path;
        let failed = |cause| Error::NoInput { what: "bundle", path: path.clone(), cause };
        let refused = |reason| Error::bundle(path, reason);
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(refused("it is not a file".into()));
        }
        let mut start = Vec::with_capacity(head::MAX_BYTES);
        (&mut file).take(head::MAX_BYTES as u64).read_to_end(&mut start).map_err(failed)?;
        let mut length = metadata.len();
        let content = if Head::is_head(&start) {
            let head = Head::parse(&start).map_err(refused)?;
            let end = Head::len(head.codec) as u64 + head.packed;
            let missing = end.saturating_sub(start.len() as u64);
            // One read, instead of one for each time that the buffer grows; no more than is there, whatever the head claims.
            start.reserve_exact(missing.min(length) as usize);
            (&mut file).take(missing).read_to_end(&mut start).map_err(failed)?;
            let manifest = manifest_of(&head, &start).map_err(refused)?;
            length = end + manifest.frames.iter().map(|f| u64::from(f.packed)).sum::<u64>();
            if metadata.len() != length {
                let is =
                    if metadata.len() < length { "truncated" } else { "longer than it should be" };
                return Err(refused(format!(
                    "it is {is} ({} bytes, {length} expected): make it anew with 'pyshm bundle env'",
                    metadata.len()
                )));
            }
            let agrees = |prefix: &PathBuf| {
                let real = std::fs::canonicalize(prefix).unwrap_or_else(|_| prefix.clone());
                manifest.prefixes.iter().any(|p| p.spellings().any(|s| s == real || s == prefix))
            };
            if let Some(prefix) = named.prefix.as_ref().filter(|prefix| !agrees(prefix)) {
                return Err(refused(format!(
                    "it says itself that it stands for {}, not for {}: leave --prefix out, or make it anew",
                    manifest.prefixes[0].path().display(),
                    prefix.display()
                )));
            }
            if named.layer && manifest.layer.is_none() {
                return Err(refused(
                    "it is no layer: make one with 'pyshm bundle env --over', or leave --layer out"
                        .into(),
                ));
            }
            Content::Bundle(manifest)
        } else {
            start.reserve_exact(LOOK.min(length) as usize);
            (&mut file).take(LOOK).read_to_end(&mut start).map_err(failed)?;
            let compression = Compression::of(&start).map_err(refused)?;
            let Some(prefix) = &named.prefix else {
                return Err(refused(
                    "it was not made by pyshm, or is damaged: say behind it with --prefix DIR where its members belong, or \
                     make one with 'pyshm bundle env'"
                        .into(),
                ));
            };
            let mut placement = Placement::below(prefix)?;
            let mut tar = compression.decoder(&start[..]).map_err(failed)?;
            placement.look(&mut Members::new(&mut *tar));
            drop(tar);
            let written = (metadata.mtime(), metadata.mtime_nsec());
            Content::Archive(Archive { compression, placement, layer: named.layer, written })
        };
        Ok(Self { path: path.clone(), file, length, content, start, given: 0 })
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// What nodes need to know of a tar that others made; `None` for a bundle of ours.
    #[must_use]
    pub fn archive(&self) -> Option<&Archive> {
        match &self.content {
            Content::Archive(archive) => Some(archive),
            Content::Bundle(_) => None,
        }
    }

    /// The prefixes it stands for.
    #[must_use]
    pub fn prefixes(&self) -> &[PrefixRecord] {
        match &self.content {
            Content::Bundle(manifest) => &manifest.prefixes,
            Content::Archive(archive) => std::slice::from_ref(&archive.placement.prefix),
        }
    }

    /// What it takes in a stage. Of a tar that others made only a lower bound is known: it hardly unpacks to less than
    /// what the file has, but what it claims by itself (gzip's trailer, zstd's header) may be wrong.
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

    /// Reads a tar that others made to its end, with `sink` for what is in it, as a manifest without frames and with
    /// what people should be warned of.
    ///
    /// # Errors
    /// As [`walk`], and [`Error::Usage`] for a bundle of ours.
    pub fn survey(mut self, sink: &mut dyn Sink) -> Result<(Manifest, Option<String>)> {
        let Content::Archive(archive) = &self.content else {
            return Err(Error::Usage(format!("{} was made by pyshm", self.path.display())));
        };
        let start = std::mem::take(&mut self.start);
        let rest = BufReader::with_capacity(1 << 20, &self.file);
        let input = BufReader::new(io::Cursor::new(start).chain(rest));
        let mut tar =
            archive.compression.decoder(input).map_err(Error::read("bundle", &self.path))?;
        let (compression, layer) = (archive.compression, archive.layer);
        walk(&self.path, self.length, compression, &archive.placement, layer, &mut *tar, sink)
    }

    /// Bytes of the whole file.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a bundle is never empty")]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// The next bytes of the file, at most `max`; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::NoInput`], also when the file became shorter since it was opened.
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
            return Err(Error::bundle(&self.path, "it became shorter while it was read"));
        }
        self.given += wanted as u64;
        Ok(Some(chunk))
    }
}

/// Unpacks and checks the manifest from the bytes of head and frame 0.
///
/// # Errors
/// What is wrong, as a sentence's end.
pub fn manifest_of(head: &Head, start: &[u8]) -> Result<Manifest, String> {
    let damaged = "its manifest is damaged: make it anew with 'pyshm bundle env'";
    let from = Head::len(head.codec);
    let packed = start.get(from..from + head.packed as usize).ok_or("it is truncated")?;
    if *blake3::hash(packed).as_bytes() != head.digest {
        return Err(damaged.into());
    }
    let raw =
        head.codec.decompress(packed, head.raw as usize).map_err(|e| format!("{damaged} ({e})"))?;
    let mut archive = tar::Archive::new(&raw[..]);
    let mut entries = archive.entries().map_err(|e| format!("{damaged} ({e})"))?;
    let member = entries.next().ok_or(damaged)?.map_err(|e| format!("{damaged} ({e})"))?;
    let (at, len) = (member.raw_file_position() as usize, member.size() as usize);
    Manifest::parse(raw.get(at..at.saturating_add(len)).ok_or(damaged)?)
}
