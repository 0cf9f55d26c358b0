//! Unpacks the frames of a bundle: the calling thread cuts the stream into frames, and other threads decompress, check
//! and write them.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::{Mutex, mpsc};

use crate::error::{Error, Result};
use crate::instrument::test_pause;
use crate::instrument::test_pause::Moment;
use crate::instrument::timeline;
use crate::instrument::timeline::Phase;
use crate::manifest::frame::Decoder;
use crate::manifest::{FrameRecord, Manifest};
use crate::stage::build::files::Files;
use crate::stage::build::stream::Stream;
use crate::stage::staged_file::LastDirectory;

/// A frame on its way to a writing thread.
struct Frame {
    record: FrameRecord,
    /// Offset of its data in the tar stream.
    start: u64,
    packed: Vec<u8>,
}

/// The state that the writing threads share.
struct Writers<'a> {
    manifest: &'a Manifest,
    bundle: &'a Path,
    files: &'a Files<'a>,
    frames: Mutex<mpsc::Receiver<Frame>>,
    /// Buffers of written frames, for reuse: fresh memory costs a page fault every 4 kB.
    spare: Mutex<Vec<Vec<u8>>>,
    failed: Mutex<Option<Error>>,
}

impl Writers<'_> {
    /// Runs one thread, which writes frames until there are no more. After a failure the thread goes on receiving
    /// frames and drops them. Otherwise the calling thread would wait for ever when the channel is full.
    fn run(&self) {
        if let Err(error) = self.write_frames() {
            if let Ok(mut failed) = self.failed.lock() {
                failed.get_or_insert(error);
            }
            while self.next().is_some() {}
        }
    }

    /// Receives the next frame. One thread waits for the channel, the others for the lock.
    fn next(&self) -> Option<Frame> {
        self.frames.lock().ok()?.recv().ok()
    }

    fn write_frames(&self) -> Result<()> {
        let damaged = |why: String| {
            Error::bundle(self.bundle, format!("it is damaged ({why}): make it again"))
        };
        let mut decoder =
            Decoder::new(self.manifest.codec).map_err(Error::system("prepare to decompress"))?;
        let mut directory = LastDirectory::default();
        while let Some(frame) = self.next() {
            test_pause::at(Moment::Decode);
            let busy = timeline::busy(Phase::Decode);
            let raw = decoder
                .decode(&frame.packed, frame.record.raw as usize)
                .map_err(|e| damaged(e.to_string()))?;
            if *blake3::hash(raw).as_bytes() != frame.record.digest {
                return Err(damaged("a digest differs".into()));
            }
            drop(busy);
            test_pause::at(Moment::Write);
            let _busy = timeline::busy(Phase::Write);
            self.files.write(frame.start, raw, &mut directory)?;
            if let Ok(mut spare) = self.spare.lock() {
                spare.push(frame.packed);
            }
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.failed.lock().is_ok_and(|failed| failed.is_some())
    }
}

/// Unpacks the frames of `manifest`, which arrive in `stream`, and writes their data to `files`, with `threads`
/// threads.
///
/// # Errors
/// [`Error::BadBundle`] when a frame is damaged, [`Error::CannotWrite`] names a file that cannot be written.
pub(super) fn unpack(
    manifest: &Manifest,
    stream: &mut Stream<'_>,
    files: &Files<'_>,
    threads: usize,
) -> Result<()> {
    // The channel is short, because each frame that waits takes memory.
    let (to_writers, frames) = mpsc::sync_channel::<Frame>(2);
    let bundle = stream.bundle;
    let writers = Writers {
        manifest,
        bundle,
        files,
        frames: Mutex::new(frames),
        spare: Mutex::default(),
        failed: Mutex::default(),
    };
    let fed = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| writers.run());
        }
        let mut start = 0;
        for record in &manifest.frames {
            if writers.has_failed() {
                break;
            }
            let mut packed =
                writers.spare.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default();
            packed.clear();
            stream.append(&mut packed, record.packed as usize)?;
            // Sending cannot fail: `writers` has the receiver and lives longer than this sender.
            let _ = to_writers.send(Frame { record: *record, start, packed });
            start += u64::from(record.raw);
        }
        drop(to_writers);
        Ok(())
    });
    match writers.failed.into_inner().ok().flatten() {
        Some(error) => Err(error),
        None => fed,
    }
}
