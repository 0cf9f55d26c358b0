//! Broadcasts one bundle while it is read and unpacked.
//!
//! ```text
//! rank 0's reading thread ──▶ main thread ══ broadcast ══▶ main threads of all leaders ──▶ unpacking threads
//!                      AHEAD              IN_FLIGHT                                 WAITING
//! ```
//!
//! Chunks are broadcast in pairs. While one pair is broadcast, the previous pair goes to the unpacking threads, and
//! rank 0 reads the next pair. At most eight chunks and the unpacking threads' frames are in memory, whatever the
//! bundle's size. A byte after each chunk tells whether rank 0 goes on.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Root};

use crate::bcast::node::Node;
use crate::bcast::wait_for_end::Ending;
use crate::bundle::Reader;
use crate::error::{Error, Result};
use crate::instrument::test_pause::Moment;
use crate::instrument::timeline::Phase;
use crate::instrument::{test_pause, timeline};
use crate::protocol::events::Event;
use crate::stage::IncomingBundle;

/// Chunks that are broadcast at the same time.
const IN_FLIGHT: usize = 2;
/// Chunks that are read and wait to be broadcast, in addition to the one that the reading thread has.
const AHEAD: usize = 1;
/// Chunks that wait for the unpacking threads.
const WAITING: usize = 2;
/// Time between two reports of progress.
const PROGRESS: Duration = Duration::from_secs(1);
/// The two values of the byte after a chunk: the chunk is valid, or rank 0 has stopped.
const VALID: u8 = 0;
const STOPPED: u8 = 1;

/// Broadcasts the bundle `incoming` in chunks of `chunk` bytes, which rank 0 of `comm` takes from `reader`. This node
/// unpacks the bundle as number `wanted`; if `wanted` is `None`, the node only takes part in the broadcast. If
/// unpacking fails on this node alone, `node` fails.
///
/// # Errors
/// Only rank 0 returns an error. It means that all nodes have to stop.
pub(super) fn bundle(
    comm: &SimpleCommunicator,
    ending: &Ending,
    node: &mut Node,
    wanted: Option<usize>,
    incoming: &IncomingBundle,
    chunk: usize,
    reader: Option<&mut Reader>,
) -> Result<()> {
    let (to, chunks) = mpsc::sync_channel(WAITING);
    let refused = AtomicBool::new(false);
    let is_root = comm.rank() == 0;
    let (delivered, unpacked) = std::thread::scope(|threads| {
        let unpacking = wanted.zip(node.building()).map(|(number, build)| {
            let refused = &refused;
            threads.spawn(move || {
                let unpacked = build.unpack(number, incoming, chunks);
                refused.store(matches!(unpacked, Err(Error::BadBundle { .. })), Ordering::Relaxed);
                unpacked
            })
        });
        let sizes = Sizes { left: incoming.length, chunk };
        let (reading, source) = match reader {
            Some(reader) => {
                let (to, source) = mpsc::sync_channel(AHEAD);
                let reading = Reading { reader, ending, refused: &refused, failed: None };
                (Some(threads.spawn(move || reading.run(sizes, &to))), Some(source))
            }
            None => (None, None),
        };
        let complete =
            broadcast(comm, sizes, source, to, &mut ProgressReport::new(ending, is_root));
        let unpacked = unpacking.and_then(|thread| thread.join().ok());
        let failed = reading.and_then(|thread| thread.join().ok()).flatten();
        (failed.map_or(Ok(complete), Err), unpacked)
    });
    let mut refusal = None;
    match unpacked {
        // A bad bundle is bad on every node, so all nodes stop, and not only this one.
        Some(Err(error @ Error::BadBundle { .. })) if is_root => refusal = Some(error),
        Some(Err(error)) => node.fail(error),
        Some(Ok(())) | None => {}
    }
    match (delivered, refusal) {
        // Rank 0 stopped because of this error; unpacking may have failed only because its stream ended early.
        (Err(error), _) => Err(error),
        (Ok(_), Some(refusal)) => Err(refusal),
        (Ok(_), None) => Ok(()),
    }
}

/// The sizes of the chunks in bytes. The last chunk may be smaller than the others.
#[derive(Clone, Copy)]
struct Sizes {
    left: u64,
    chunk: usize,
}

impl Iterator for Sizes {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let size = self.left.min(self.chunk as u64);
        self.left -= size;
        (size > 0).then_some(size as usize)
    }
}

/// Rank 0's reading thread.
struct Reading<'a> {
    reader: &'a mut Reader,
    ending: &'a Ending,
    refused: &'a AtomicBool,
    failed: Option<Error>,
}

impl Reading<'_> {
    /// Reads all chunks, or up to the first chunk that tells the other nodes to stop. Returns the error that stopped
    /// the reading.
    fn run(mut self, sizes: Sizes, to: &SyncSender<Vec<u8>>) -> Option<Error> {
        for size in sizes {
            let chunk = self.next(size);
            let stopped = chunk.last() != Some(&VALID);
            if to.send(chunk).is_err() || stopped {
                break;
            }
        }
        self.failed
    }

    /// Reads the next chunk of `length` bytes, and appends the byte that tells whether rank 0 goes on.
    fn next(&mut self, length: usize) -> Vec<u8> {
        let mut chunk = Vec::with_capacity(length + 1);
        while chunk.len() < length && self.goes_on() {
            test_pause::at(Moment::Read);
            match self.reader.read_chunk(length - chunk.len()) {
                Ok(Some(bytes)) if chunk.is_empty() && bytes.len() == length => chunk = bytes,
                Ok(Some(bytes)) => chunk.extend_from_slice(&bytes),
                Ok(None) => {
                    let reason = "it became shorter while it was read";
                    self.failed = Some(Error::bundle(self.reader.path(), reason));
                }
                Err(error) => self.failed = Some(error),
            }
        }
        let state = if chunk.len() == length && self.goes_on() { VALID } else { STOPPED };
        chunk.resize(length, 0);
        chunk.push(state);
        chunk
    }

    fn goes_on(&mut self) -> bool {
        if self.failed.is_none() && self.ending.is_told() {
            self.failed = Some(Error::Unavailable("the staging step was told to end".into()));
        }
        self.failed.is_none() && !self.refused.load(Ordering::Relaxed)
    }
}

/// Rank 0's reports of the progress of a broadcast.
struct ProgressReport<'a> {
    /// `None` on other ranks, which report nothing.
    to: Option<&'a Ending>,
    bytes: u64,
    last: Instant,
}

impl<'a> ProgressReport<'a> {
    fn new(ending: &'a Ending, is_root: bool) -> Self {
        Self { to: is_root.then_some(ending), bytes: 0, last: Instant::now() }
    }

    /// Counts `bytes` more, and reports the sum if the last report is a second old.
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        if let Some(to) = self.to
            && self.last.elapsed() >= PROGRESS
        {
            to.say(&Event::Progress { bytes: self.bytes });
            self.last = Instant::now();
        }
    }
}

/// Broadcasts all chunks, which rank 0 takes from `source`. Each node hands the chunks on to `to`. Returns `false` if
/// rank 0 has stopped.
fn broadcast(
    comm: &SimpleCommunicator,
    mut sizes: Sizes,
    source: Option<Receiver<Vec<u8>>>,
    to: SyncSender<Vec<u8>>,
    report: &mut ProgressReport<'_>,
) -> bool {
    let root = comm.process_at_rank(0);
    let mut to = Some(to);
    let mut arrived: Vec<Vec<u8>> = Vec::new();
    loop {
        // Rank 0 waits here only if the reading thread is slower than the broadcast.
        let buffer = |size| match &source {
            Some(source) => source.recv().unwrap_or_else(|_| stopped(size)),
            None => vec![0; size + 1],
        };
        let mut current: Vec<_> = sizes.by_ref().take(IN_FLIGHT).map(buffer).collect();
        if current.is_empty() {
            break;
        }
        test_pause::at(Moment::Broadcast);
        scope(|scope| {
            let start = |chunk| Some(root.immediate_broadcast_into(scope, chunk));
            let mut busy = Some(timeline::busy(Phase::Broadcast));
            let mut requests: Vec<_> =
                current.iter_mut().map(|chunk| start(&mut chunk[..])).collect();
            let mut progress = || {
                let done = poll(&mut requests);
                busy.take_if(|_| done);
                done
            };
            for chunk in arrived.drain(..) {
                hand_on(chunk, &mut to, &mut progress);
            }
            let mut idle = 0;
            while !progress() {
                pause(&mut idle);
            }
        });
        if current.iter().any(|chunk| chunk.last() != Some(&VALID)) {
            return false;
        }
        arrived = current;
        arrived.iter_mut().for_each(|chunk| chunk.truncate(chunk.len() - 1));
        report.add(arrived.iter().map(|chunk| chunk.len() as u64).sum());
    }
    for chunk in arrived {
        hand_on(chunk, &mut to, &mut || true);
    }
    true
}

/// Returns a chunk that says that rank 0 has stopped.
fn stopped(size: usize) -> Vec<u8> {
    let mut chunk = vec![0; size];
    chunk.push(STOPPED);
    chunk
}

/// Hands a chunk on to the unpacking thread, or drops the chunk if that thread has ended. MPI makes progress meanwhile.
fn hand_on(
    chunk: Vec<u8>,
    to: &mut Option<SyncSender<Vec<u8>>>,
    progress: &mut dyn FnMut() -> bool,
) {
    let mut chunk = chunk;
    while let Some(sender) = to.as_ref() {
        match sender.try_send(chunk) {
            Ok(()) => return,
            Err(TrySendError::Disconnected(_)) => *to = None,
            Err(TrySendError::Full(back)) => {
                chunk = back;
                progress();
                std::thread::sleep(Duration::from_micros(500));
                continue;
            }
        }
        return;
    }
}

/// Lets MPI make progress. Returns whether everything has arrived.
fn poll<'a, S: Scope<'a>>(requests: &mut [Option<Request<'a, [u8], S>>]) -> bool {
    for slot in requests.iter_mut() {
        *slot = slot.take().and_then(|request| request.test().err());
    }
    requests.iter().all(Option::is_none)
}

/// Leaves the processor to the unpacking threads. The first pauses are short, because data usually arrives soon.
fn pause(idle: &mut u32) {
    *idle += 1;
    if *idle < 200 {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_micros(200));
    }
}
