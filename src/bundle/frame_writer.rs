//! Compresses frames on all cores and writes them in the order of the stream.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::{Mutex, mpsc};

use indicatif::ProgressBar;

use crate::bundle::pack_layer::PackedPath;
use crate::bundle::tar_writer::{Recorded, write_tar};
use crate::error::{Error, Result};
use crate::manifest::FrameRecord;
use crate::manifest::frame::{Codec, Cutter};

/// Writes the frames of `paths` to `file`, and returns the records of paths and frames for the manifest.
pub(super) fn write_frames(
    paths: &[PackedPath<'_>],
    file: &File,
    codec: Codec,
    level: i32,
    bar: &ProgressBar,
) -> Result<(Recorded, Vec<FrameRecord>)> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (raw_to, raw_from) = mpsc::sync_channel::<(usize, Vec<u8>)>(threads);
    let (packed_to, packed_from) = mpsc::sync_channel::<(usize, io::Result<Frame>)>(threads);
    let raw_from = Mutex::new(raw_from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (raw_from, packed_to) = (&raw_from, packed_to.clone());
            scope.spawn(move || {
                loop {
                    // The thread that waits for the channel holds the lock; the others wait for the lock.
                    let next = raw_from.lock().ok().and_then(|from| from.recv().ok());
                    let Some((number, raw)) = next else { return };
                    let packed = Frame::compress(codec, &raw, level);
                    if packed_to.send((number, packed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(packed_to);
        let writer = scope.spawn(move || write_in_order(&packed_from, file));
        let mut number = 0;
        let mut cutter = Cutter::new(|raw| {
            number += 1;
            raw_to.send((number - 1, raw)).map_err(|_| io::Error::other("the compressors stopped"))
        });
        let recorded = write_tar(paths, &mut cutter, bar);
        let finished = cutter.finish();
        drop(raw_to);
        let frames = writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer stopped")));
        // A failure to write stops the compressors and then the reader, so the writer's error is reported first.
        let frames = frames.map_err(Error::system("write the bundle's frames"))?;
        let recorded = recorded?;
        finished.map_err(Error::system("write the bundle's frames"))?;
        Ok((recorded, frames))
    })
}

/// A compressed frame, and its record for the manifest.
struct Frame {
    bytes: Vec<u8>,
    record: FrameRecord,
}

impl Frame {
    fn compress(codec: Codec, raw: &[u8], level: i32) -> io::Result<Self> {
        let bytes = codec.compress(raw, level)?;
        let digest = *blake3::hash(raw).as_bytes();
        let (packed, raw) = (bytes.len() as u32, raw.len() as u32);
        Ok(Self { record: FrameRecord { packed, raw, digest }, bytes })
    }
}

fn write_in_order(
    from: &mpsc::Receiver<(usize, io::Result<Frame>)>,
    file: &File,
) -> io::Result<Vec<FrameRecord>> {
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut waiting = HashMap::new();
    let mut records = Vec::new();
    for (number, frame) in from {
        waiting.insert(number, frame?);
        while let Some(next) = waiting.remove(&records.len()) {
            file.write_all(&next.bytes)?;
            records.push(next.record);
        }
    }
    file.flush()?;
    Ok(records)
}
