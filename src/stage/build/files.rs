//! Writes the files of a bundle from its frames, which may come in any order.
//!
//! The offset of each frame and of each file in the tar stream is known, so no tar header is read. Several threads may
//! write pieces of one file; the thread that writes the last piece sets the file's times.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use once_cell::sync::OnceCell;

use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::stage::staged_file::{FileMaker, LastDirectory, below, file_times};

/// The files of one bundle, shared by the threads that write them.
pub(super) struct Files<'a> {
    manifest: &'a Manifest,
    maker: FileMaker,
    /// For each file that has data, its offset in the stream and its number. The list is sorted by offset.
    order: Vec<(u64, u32)>,
    shared: DashMap<u32, Arc<SharedFile>>,
}

/// A file whose data lies in several frames.
struct SharedFile {
    file: OnceCell<File>,
    /// Bytes that are not written yet.
    missing: AtomicU64,
}

impl<'a> Files<'a> {
    /// Returns the files of `manifest`, to be written below `root`.
    pub fn new(manifest: &'a Manifest, root: PathBuf) -> Self {
        let numbered = manifest.entries.iter().enumerate();
        let order = numbered.filter_map(|(number, entry)| match entry.kind {
            EntryKind::File { offset, .. } if entry.stat.size > 0 => Some((offset, number as u32)),
            _ => None,
        });
        Self {
            order: order.collect(),
            manifest,
            maker: FileMaker::new(root),
            shared: DashMap::new(),
        }
    }

    /// Writes the files and pieces of files that `raw` contains. `raw` has the stream's bytes from the offset `start`.
    /// `last` belongs to the calling thread.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] names the file.
    pub fn write(&self, start: u64, raw: &[u8], last: &mut LastDirectory) -> Result<()> {
        let end = start + raw.len() as u64;
        let ends = |(offset, number): &(u64, u32)| {
            offset + self.manifest.entries[*number as usize].stat.size
        };
        let first = self.order.partition_point(|file| ends(file) <= start);
        for (offset, number) in self.order[first..].iter().take_while(|(offset, _)| *offset < end) {
            let entry = &self.manifest.entries[*number as usize];
            let (from, to) = ((*offset).max(start), (offset + entry.stat.size).min(end));
            let data = &raw[(from - start) as usize..(to - start) as usize];
            let written = if data.len() as u64 == entry.stat.size {
                self.write_whole(entry, data, last)
            } else {
                self.write_piece(*number, entry, from - offset, data, last)
            };
            written.map_err(|cause| Error::CannotWrite {
                path: below(self.maker.root(), entry.path()),
                cause,
            })?;
        }
        Ok(())
    }

    fn write_whole(
        &self,
        entry: &EntryRecord,
        data: &[u8],
        last: &mut LastDirectory,
    ) -> io::Result<()> {
        let file = self.create(entry, last)?;
        file.write_all_at(data, 0)?;
        Ok(rustix::fs::futimens(&file, &file_times(entry))?)
    }

    fn write_piece(
        &self,
        number: u32,
        entry: &EntryRecord,
        at: u64,
        data: &[u8],
        last: &mut LastDirectory,
    ) -> io::Result<()> {
        let new = || {
            Arc::new(SharedFile { file: OnceCell::new(), missing: AtomicU64::new(entry.stat.size) })
        };
        let shared = self.shared.entry(number).or_insert_with(new).clone();
        let file = shared.file.get_or_try_init(|| self.create(entry, last))?;
        file.write_all_at(data, at)?;
        if shared.missing.fetch_sub(data.len() as u64, Ordering::AcqRel) == data.len() as u64 {
            rustix::fs::futimens(file, &file_times(entry))?;
            self.shared.remove(&number);
        }
        Ok(())
    }

    /// Creates a file, as [`FileMaker::create`].
    pub fn create(&self, entry: &EntryRecord, last: &mut LastDirectory) -> io::Result<File> {
        self.maker.create(entry, last)
    }
}
