//! Reads a bundle's file once, from its first byte to its last, and says beforehand what is in it.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::head::{self, Head};
use super::manifest::Manifest;
use crate::error::{Error, Result};

/// An open bundle.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    length: u64,
    manifest: Manifest,
    /// What was read to learn the manifest and not yet handed out.
    start: Vec<u8>,
    given: u64,
}

impl Reader {
    /// Opens `path`, reads and checks head and manifest, and that the file is as long as they say.
    ///
    /// # Errors
    /// [`Error::NoInput`] when it cannot be read, [`Error::BadBundle`] when it is not a whole bundle.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |cause| Error::NoInput { what: "bundle", path: path.to_path_buf(), cause };
        let refused = |reason| Error::bundle(path, reason);
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(refused("it is not a file".into()));
        }
        let mut start = Vec::with_capacity(head::MAX_BYTES);
        (&mut file).take(head::MAX_BYTES as u64).read_to_end(&mut start).map_err(failed)?;
        let head = Head::parse(&start).map_err(refused)?;
        let end = Head::len(head.codec) as u64 + head.packed;
        let missing = end.saturating_sub(start.len() as u64);
        (&mut file).take(missing).read_to_end(&mut start).map_err(failed)?;
        let manifest = manifest_of(&head, &start).map_err(refused)?;
        let length = end + manifest.frames.iter().map(|f| u64::from(f.packed)).sum::<u64>();
        if metadata.len() != length {
            let is = if metadata.len() < length { "truncated" } else { "longer than it should be" };
            let reason = format!(
                "it is {is} ({} bytes, {length} expected): make it anew with 'pyshm bundle env'",
                metadata.len()
            );
            return Err(refused(reason));
        }
        Ok(Self { path: path.to_path_buf(), file, length, manifest, start, given: 0 })
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the bundle says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
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
