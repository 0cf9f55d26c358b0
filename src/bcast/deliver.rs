//! Broadcasts one bundle while it is read and unpacked.
//!
//! Chunks travel in pairs: while one pair is on its way, the previous one goes to the unpacking threads and a thread of
//! rank 0 reads the next ones. At most eight chunks and what the unpacking holds are in memory, whatever the bundle's size.
//! Behind each chunk's bytes stands one that says whether rank 0 goes on.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Root};

use crate::bcast::node::Node;
use crate::bcast::source::Coming;
use crate::bcast::wait_for_end::Ending;
use crate::bundle::Reader;
use crate::error::{Error, Result};
use crate::instrument::timeline::Phase;
use crate::instrument::{test_pause, timeline};

/// Chunks that are on their way at once.
const IN_FLIGHT: usize = 2;
/// Chunks that are read and wait for their turn, beside the one that the reading thread holds.
const AHEAD: usize = 1;
/// Chunks that wait for the unpacking threads.
const WAITING: usize = 2;
/// The byte behind a chunk: it is valid, or rank 0 has stopped.
const VALID: u8 = 0;
const STOPPED: u8 = 1;

/// Delivers the bundle `coming` in chunks of `chunk` bytes, which rank 0 of `comm` takes from `reader`. This node unpacks
/// it as the bundle with the number `wanted`, or only sends it. What goes wrong with the node is the node's; the error is
/// rank 0's, when all have to stop.
pub(super) fn bundle(
    comm: &SimpleCommunicator,
    ending: &Ending,
    node: &mut Node,
    wanted: Option<usize>,
    coming: &Coming,
    chunk: usize,
    reader: Option<&mut Reader>,
) -> Result<()> {
    let (to, chunks) = mpsc::sync_channel(WAITING);
    let refused = AtomicBool::new(false);
    let root = comm.rank() == 0;
    let (delivered, unpacked) = std::thread::scope(|threads| {
        let unpacking = wanted.zip(node.building()).map(|(number, build)| {
            let refused = &refused;
            threads.spawn(move || {
                let archive = coming.archive.as_ref();
                let unpacked = build.unpack(number, &coming.name, archive, coming.length, chunks);
                refused.store(matches!(unpacked, Err(Error::BadBundle { .. })), Ordering::Relaxed);
                unpacked
            })
        });
        let sizes = Sizes { left: coming.length, chunk };
        let (reading, source) = match reader {
            Some(reader) => {
                let (to, source) = mpsc::sync_channel(AHEAD);
                let reading = Reading { reader, ending, refused: &refused, failed: None };
                (Some(threads.spawn(move || reading.run(sizes, &to))), Some(source))
            }
            None => (None, None),
        };
        let complete = broadcast(comm, sizes, source, to);
        let unpacked = unpacking.and_then(|thread| thread.join().ok());
        let failed = reading.and_then(|thread| thread.join().ok()).flatten();
        (failed.map_or(Ok(complete), Err), unpacked)
    });
    let mut refusal = None;
    if let Some(unpacked) = unpacked {
        match unpacked {
            // The same on every node: not this node's failure, but the end of it all.
            Err(error @ Error::BadBundle { .. }) if root => refusal = Some(error),
            result => node.unpacked(result),
        }
    }
    match (delivered, refusal) {
        // Where rank 0 stopped for its own reason, its unpacking only saw the stream end.
        (Err(error), _) => Err(error),
        (Ok(_), Some(refusal)) => Err(refusal),
        (Ok(_), None) => Ok(()),
    }
}

/// Bytes of each chunk, of which the last may have fewer.
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
    /// Reads all chunks, up to the first one that says that it has stopped; returns why.
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

    /// The next chunk of `length` bytes with its last byte.
    fn next(&mut self, length: usize) -> Vec<u8> {
        let mut chunk = Vec::with_capacity(length + 1);
        while chunk.len() < length && self.goes_on() {
            test_pause::at("read");
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

/// Broadcasts all chunks, on rank 0 those that `source` gives, and hands them on; `false` when rank 0 has stopped.
fn broadcast(
    comm: &SimpleCommunicator,
    mut sizes: Sizes,
    source: Option<Receiver<Vec<u8>>>,
    to: SyncSender<Vec<u8>>,
) -> bool {
    let root = comm.process_at_rank(0);
    let mut to = Some(to);
    let mut arrived: Vec<Vec<u8>> = Vec::new();
    loop {
        // Where it was read meanwhile, nothing waits here.
        let room = |size| match &source {
            Some(source) => source.recv().unwrap_or_else(|_| stopped(size)),
            None => vec![0; size + 1],
        };
        let mut current: Vec<_> = sizes.by_ref().take(IN_FLIGHT).map(room).collect();
        if current.is_empty() {
            break;
        }
        test_pause::at("broadcast");
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
                rest(&mut idle);
            }
        });
        if current.iter().any(|chunk| chunk.last() != Some(&VALID)) {
            return false;
        }
        arrived = current;
        arrived.iter_mut().for_each(|chunk| chunk.truncate(chunk.len() - 1));
    }
    for chunk in arrived {
        hand_on(chunk, &mut to, &mut || true);
    }
    true
}

/// What follows the chunk with which rank 0 has stopped.
fn stopped(size: usize) -> Vec<u8> {
    let mut chunk = vec![0; size];
    chunk.push(STOPPED);
    chunk
}

/// Gives a chunk to the unpacking, or drops it where that has ended. MPI makes progress meanwhile.
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

/// Lets MPI make progress; `true` when everything has arrived.
fn poll<'a, S: Scope<'a>>(requests: &mut [Option<Request<'a, [u8], S>>]) -> bool {
    for slot in requests.iter_mut() {
        *slot = slot.take().and_then(|request| request.test().err());
    }
    requests.iter().all(Option::is_none)
}

/// Leaves the processor to the threads that unpack: at first only a moment, as data usually comes at once.
fn rest(idle: &mut u32) {
    *idle += 1;
    if *idle < 200 {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_micros(200));
    }
}
