//! Writes a bundle under a temporary name, so that the bundle's own name appears only when the bundle is complete.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::bundle::head::Head;
use crate::error::{Error, Result};
use crate::manifest::{MEMBER, Manifest};
use crate::process::temp_files;

/// The temporary files of a bundle. They are removed unless [`UnfinishedBundle::assemble`] gives the bundle its name.
pub(super) struct UnfinishedBundle {
    /// The frames, which are written before the manifest is known.
    pub frames: File,
    output: NamedTempFile,
}

impl UnfinishedBundle {
    /// Creates both files in the directory of `output`.
    pub fn beside(output: &Path) -> Result<Self> {
        let directory = match output.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let frames = tempfile::tempfile_in(directory).map_err(Error::write(output))?;
        let output = tempfile::Builder::new().prefix(".pyshm-bundle-").tempfile_in(directory);
        let output = output.map_err(Error::write(directory))?;
        temp_files::register(output.path());
        Ok(Self { frames, output })
    }

    /// Writes head, manifest and frames, renames the file to `output`, and returns its size in bytes.
    pub fn assemble(self, manifest: &Manifest, level: i32, output: &Path) -> Result<u64> {
        let Self { mut frames, output: mut temporary } = self;
        let bytes = write(manifest, level, &mut frames, temporary.as_file_mut());
        let bytes = bytes.map_err(Error::write(output))?;
        temp_files::forget(temporary.path());
        temporary.persist(output).map_err(|e| Error::write(output)(e.error))?;
        Ok(bytes)
    }
}

fn write(manifest: &Manifest, level: i32, frames: &mut File, file: &mut File) -> io::Result<u64> {
    let body = manifest.to_bytes();
    let mut member = tar::Header::new_gnu();
    member.set_size(body.len() as u64);
    member.set_mode(0o644);
    let mut tar = tar::Builder::new(Vec::with_capacity(body.len() + 2048));
    tar.append_data(&mut member, MEMBER, &body[..])?;
    // The end of the tar is left out, since the stream continues in the next frame.
    let raw = std::mem::take(tar.get_mut());
    let packed = manifest.codec.compress(&raw, level)?;
    let digest = *blake3::hash(&packed).as_bytes();
    let (raw, packed_len) = (raw.len() as u64, packed.len() as u64);
    let head = Head { codec: manifest.codec, packed: packed_len, raw, digest };
    file.write_all(&head.to_bytes())?;
    file.write_all(&packed)?;
    frames.rewind()?;
    let frames = io::copy(frames, file)?;
    // The bundle gets the mode of a file that the user creates, so that others may read it.
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    let mode = rustix::fs::Mode::from_raw_mode(0o666) & !umask;
    rustix::fs::fchmod(&*file, mode)?;
    Ok(Head::len(manifest.codec) as u64 + packed_len + frames)
}
