//! Unpacks a foreign tar: one thread decompresses it, and the calling thread writes its members.
//!
//! A tar has to be read in order, so more threads would only wait. The unpacked size of a tar is not known beforehand,
//! so the free space is checked before the first byte of each member is written.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::archive::Archive;
use crate::archive::walk::{FileData, FileSummary, Sink, walk};
use crate::error::{Error, Result};
use crate::instrument::timeline;
use crate::instrument::timeline::Phase;
use crate::manifest::Manifest;
use crate::manifest::entry::EntryRecord;
use crate::program::run_path;
use crate::stage::build::stream::Stream;
use crate::stage::build::tree;
use crate::stage::limits::space::Room;
use crate::stage::staged_file::{FileMaker, LastDirectory, below, file_times};

/// Bytes of a block that passes from one thread to the other.
const BLOCK: usize = 1 << 20;
/// Number of blocks that may wait.
const WAITING: usize = 3;
/// Bytes of one write to a file.
const PIECE: usize = 256 << 10;

/// Unpacks the tar that arrives in `stream` into the directory `fs`, within `room`. `fs` is `<stage>/fs`, or a
/// temporary directory beside it. Returns the manifest of what was unpacked, and a warning for the user.
///
/// # Errors
/// [`Error::BadBundle`], [`Error::TooLarge`] or [`Error::CannotWrite`].
pub(super) fn unpack(
    bundle: &Path,
    archive: &Archive,
    stream: &mut Stream<'_>,
    room: Room,
    fs: PathBuf,
) -> Result<(Manifest, Option<String>)> {
    let mut sink = Writer {
        bundle,
        maker: FileMaker::new(fs),
        last: LastDirectory::default(),
        piece: vec![0; PIECE],
        room,
    };
    let above = archive.placement.prefix.path().parent().unwrap_or(Path::new("/"));
    let above = below(sink.maker.root(), above);
    std::fs::create_dir_all(&above).map_err(Error::write(&above))?;
    let (to, blocks) = mpsc::sync_channel(WAITING);
    let (back, spare) = mpsc::sync_channel(WAITING + 2);
    let length = stream.length();
    std::thread::scope(|scope| {
        scope.spawn(move || decompress(archive, stream, &to, &spare));
        let mut tar = Blocks { blocks, back, block: Vec::new(), at: 0 };
        walk(bundle, length, archive, &mut tar, &mut sink)
    })
}

type Block = io::Result<Vec<u8>>;

/// Runs the decompressing thread: sends the blocks of the tar to `to`, and takes used buffers from `spare`. Ends at the
/// end of the tar, or when the other thread has ended.
fn decompress(
    archive: &Archive,
    stream: &mut Stream<'_>,
    to: &SyncSender<Block>,
    spare: &Receiver<Vec<u8>>,
) {
    let mut decoder = match archive.compression.decoder(stream) {
        Ok(decoder) => decoder,
        Err(e) => {
            let _ = to.send(Err(e));
            return;
        }
    };
    loop {
        let mut block = spare.try_recv().unwrap_or_else(|_| vec![0; BLOCK]);
        block.resize(BLOCK, 0);
        let mut filled = 0;
        let mut failed = None;
        // This phase includes waiting for the tar's bytes, since only the decoder knows when it needs more.
        let busy = timeline::busy(Phase::Decode);
        while filled < BLOCK {
            match decoder.read(&mut block[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        drop(busy);
        block.truncate(filled);
        // The bytes before an error are sent first: the other thread may find in them a better reason to refuse the
        // tar.
        if filled > 0 && to.send(Ok(block)).is_err() {
            return;
        }
        match failed {
            Some(e) => {
                let _ = to.send(Err(e));
                return;
            }
            None if filled < BLOCK => return,
            None => {}
        }
    }
}

/// The tar as it arrives from the decompressing thread.
struct Blocks {
    blocks: Receiver<Block>,
    back: SyncSender<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            let Ok(next) = self.blocks.recv() else { return Ok(0) };
            let used = std::mem::replace(&mut self.block, next?);
            self.at = 0;
            let _ = self.back.try_send(used);
        }
        let n = buffer.len().min(self.block.len() - self.at);
        buffer[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Writes members below `<stage>/fs`. The paths of the members come from the catalog, and this writer has created every
/// directory in these paths. Links are created only after everything else, so no path leads through a link.
struct Writer<'a> {
    bundle: &'a Path,
    maker: FileMaker,
    last: LastDirectory,
    piece: Vec<u8>,
    room: Room,
}

impl Writer<'_> {
    fn write(&mut self, entry: &EntryRecord, data: &mut FileData<'_, '_>) -> Result<FileSummary> {
        let path = below(self.maker.root(), entry.path());
        let failed = |cause| Error::CannotWrite { path: path.clone(), cause };
        let file = self.maker.create(entry, &mut self.last).map_err(failed)?;
        let (mut end, mut is_elf) = (0, false);
        while let Some((at, n)) = data.next(&mut self.piece)? {
            let _busy = timeline::busy(Phase::Write);
            is_elf |= at == 0 && self.piece.starts_with(b"\x7fELF");
            file.write_all_at(&self.piece[..n], at).map_err(failed)?;
            end = at + n as u64;
        }
        if end < entry.stat.size {
            file.set_len(entry.stat.size).map_err(failed)?;
        }
        rustix::fs::futimens(&file, &file_times(entry)).map_err(|e| failed(e.into()))?;
        drop(file);
        let runpath =
            if is_elf { run_path::absolute(&File::open(&path).map_err(failed)?) } else { None };
        Ok(FileSummary { runpath, ..FileSummary::default() })
    }
}

impl Sink for Writer<'_> {
    fn reserve(&mut self, name: &str, size: u64, stored: u64) -> Result<()> {
        self.room.take(size, stored).map_err(|why| Error::TooLarge {
            bundle: self.bundle.to_path_buf(),
            reason: format!("its member {name} {why}"),
        })
    }

    fn directory(&mut self, entry: &EntryRecord) -> Result<()> {
        tree::refuse_long(self.bundle, self.maker.root(), entry.path())?;
        let path = below(self.maker.root(), entry.path());
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(Error::write(&path))
    }

    fn file(&mut self, entry: &EntryRecord, data: &mut FileData<'_, '_>) -> Result<FileSummary> {
        tree::refuse_long(self.bundle, self.maker.root(), entry.path())?;
        self.write(entry, data)
    }
}
