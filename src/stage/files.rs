//! Writes the files of a bundle from its frames, in whatever order they come.
//!
//! A frame knows its place in the tar stream and the manifest knows each file's, so no tar header is read. A file
//! that several frames share is written by whoever has a piece of it; who writes the last one gives it its times.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use once_cell::sync::OnceCell;
use pyshm_format::hash_path;
use pyshm_format::layout::staged_access_time;
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};

use crate::bundle::Manifest;
use crate::bundle::manifest::{EntryKind, EntryRecord, EntryStat};
use crate::error::{Error, Result};

/// The original's time of modification, and a time of access that names the file.
pub(super) fn file_times(entry: &EntryRecord) -> Timestamps {
    let (sec, nsec) = staged_access_time(hash_path(&entry.path));
    Timestamps { last_access: Timespec { tv_sec: sec, tv_nsec: nsec.into() }, ..times(&entry.stat) }
}

/// Permission bits that a staged file has: the owner must be able to read it, and nobody becomes another user by it.
pub(super) fn staged_mode(stat: &EntryStat) -> Mode {
    Mode::from_raw_mode((stat.mode & 0o777) | 0o400)
}

/// The original's times.
pub(super) fn times(stat: &EntryStat) -> Timestamps {
    let time = |(sec, nsec): (i64, u32)| Timespec { tv_sec: sec, tv_nsec: nsec.into() };
    Timestamps { last_access: time(stat.atime), last_modification: time(stat.mtime) }
}

/// Creates files below a root.
pub(super) struct Maker {
    /// `<stage>/fs`
    root: PathBuf,
    umask: Mode,
}

/// The files of one bundle, shared by the threads that write them.
pub(super) struct Files<'a> {
    manifest: &'a Manifest,
    maker: Maker,
    /// Offset in the stream and number of each file that has data, in the stream's order.
    order: Vec<(u64, u32)>,
    shared: DashMap<u32, std::sync::Arc<Shared>>,
}

/// A file that several frames share.
struct Shared {
    file: OnceCell<File>,
    missing: AtomicU64,
}

/// One thread's directory: consecutive files mostly lie in the same one.
#[derive(Default)]
pub(super) struct LastDirectory(Option<(PathBuf, OwnedFd)>);

impl LastDirectory {
    /// The directory `path` below `root`, which is always the same one.
    pub fn at(&mut self, root: &Path, path: &Path) -> io::Result<&OwnedFd> {
        if self.0.as_ref().is_some_and(|(known, _)| known != path) {
            self.0 = None;
        }
        match &mut self.0 {
            Some((_, fd)) => Ok(fd),
            none => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::open(below(root, path), flags, Mode::empty())?;
                Ok(&none.insert((path.to_path_buf(), fd)).1)
            }
        }
    }
}

impl<'a> Files<'a> {
    pub fn new(manifest: &'a Manifest, root: PathBuf) -> Self {
        let numbered = manifest.entries.iter().enumerate();
        let order = numbered.filter_map(|(number, entry)| match entry.kind {
            EntryKind::File { offset, .. } if entry.stat.size > 0 => Some((offset, number as u32)),
            _ => None,
        });
        Self { order: order.collect(), manifest, maker: Maker::new(root), shared: DashMap::new() }
    }

    /// Writes what the stream's bytes `raw`, which begin at `start`, hold of any file.
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
                path: below(&self.maker.root, entry.path()),
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
            std::sync::Arc::new(Shared {
                file: OnceCell::new(),
                missing: AtomicU64::new(entry.stat.size),
            })
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

    /// As [`Maker::create`].
    pub fn create(&self, entry: &EntryRecord, last: &mut LastDirectory) -> io::Result<File> {
        self.maker.create(entry, last)
    }
}

impl Maker {
    /// Creates files below `root`, `<stage>/fs`.
    pub fn new(root: PathBuf) -> Self {
        Self { root, umask: current_umask() }
    }

    /// Where it creates them.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Creates an empty file. Its directory was made from the same manifest, below a directory of our own.
    pub fn create(&self, entry: &EntryRecord, last: &mut LastDirectory) -> io::Result<File> {
        let path = entry.path();
        let (parent, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        let directory = last.at(&self.root, parent)?;
        let mode = staged_mode(&entry.stat);
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(directory, name, flags, mode)?);
        if mode.intersects(self.umask) {
            rustix::fs::fchmod(&file, mode)?;
        }
        Ok(file)
    }
}

/// `<root>` followed by an absolute path.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    let mut joined = root.as_os_str().to_os_string();
    joined.push(path.as_os_str());
    debug_assert!(path.as_os_str().as_bytes().first() == Some(&b'/'));
    joined.into()
}

/// The process's umask, read without changing it.
fn current_umask() -> Mode {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let value = value.and_then(|v| u32::from_str_radix(v.trim(), 8).ok());
    // Unknown: every mode is then set explicitly.
    Mode::from_raw_mode(value.unwrap_or(0o777))
}
