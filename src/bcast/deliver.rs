//! Broadcasts one bundle while it is unpacked.
//!
//! Chunks travel in pairs: while one pair is on its way, the previous one goes to the unpacking threads and rank 0
//! reads the next. At most six chunks and what the unpacking holds are in memory, whatever the bundle's size. Behind
//! each chunk's bytes stands one that says whether rank 0 goes on.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::time::Duration;

use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Root};

use super::Coming;
use super::asleep::Ending;
use super::node::Node;
use crate::bundle::Reader;
use crate::error::{Error, Result};
use crate::stage::pause;

/// Bytes of a chunk; smaller ones cost bandwidth, larger ones memory.
const CHUNK: usize = 4 << 20;
/// Chunks that are on their way at once.
const IN_FLIGHT: usize = 2;
/// Chunks that wait for the unpacking threads.
const WAITING: usize = 2;
/// The byte behind a chunk: it is valid, or rank 0 has stopped.
const VALID: u8 = 0;
const STOPPED: u8 = 1;

/// Delivers the bundle `coming`, which rank 0 of `comm` takes from `reader`. What goes wrong with the node is the
/// node's; the error is rank 0's, when all have to stop.
pub(super) fn bundle(
    comm: &SimpleCommunicator,
    ending: &Ending,
    node: &mut Node,
    coming: &Coming,
    reader: Option<&mut Reader>,
) -> Result<()> {
    let (to, chunks) = mpsc::sync_channel(WAITING);
    let refused = AtomicBool::new(false);
    let root = comm.rank() == 0;
    let (delivered, unpacked) = std::thread::scope(|threads| {
        let unpacking = node.building().map(|build| {
            let refused = &refused;
            threads.spawn(move || {
                let archive = coming.archive.as_ref();
                let unpacked = build.unpack(&coming.name, archive, coming.length, chunks);
                refused.store(matches!(unpacked, Err(Error::BadBundle { .. })), Ordering::Relaxed);
                unpacked
            })
        });
        let mut source =
            reader.map(|reader| Source { reader, ending, refused: &refused, failed: None });
        let complete = broadcast(comm, coming.length, source.as_mut(), to);
        let unpacked = unpacking.and_then(|thread| thread.join().ok());
        let failed = source.and_then(|source| source.failed);
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

/// Where rank 0's chunks come from.
struct Source<'a> {
    reader: &'a mut Reader,
    ending: &'a Ending,
    refused: &'a AtomicBool,
    failed: Option<Error>,
}

impl Source<'_> {
    /// The next chunk of `length` bytes with its last byte.
    fn next(&mut self, length: usize) -> Vec<u8> {
        let mut chunk = Vec::with_capacity(length + 1);
        while chunk.len() < length && self.goes_on() {
            pause::at("read");
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

/// Broadcasts all chunks and hands them on; `false` when rank 0 has stopped.
fn broadcast(
    comm: &SimpleCommunicator,
    length: u64,
    mut source: Option<&mut Source<'_>>,
    to: SyncSender<Vec<u8>>,
) -> bool {
    let root = comm.process_at_rank(0);
    let mut sizes = (0..length.div_ceil(CHUNK as u64))
        .map(|i| (length - i * CHUNK as u64).min(CHUNK as u64) as usize);
    let mut fill = |source: &mut Option<&mut Source<'_>>| -> Vec<Vec<u8>> {
        let sizes = sizes.by_ref().take(IN_FLIGHT);
        sizes
            .map(|size| {
                source.as_mut().map_or_else(|| vec![0; size + 1], |source| source.next(size))
            })
            .collect()
    };
    let mut to = Some(to);
    let mut arrived = Vec::new();
    let mut current = fill(&mut source);
    while !current.is_empty() {
        let mut next = Vec::new();
        scope(|scope| {
            let start = |chunk| Some(root.immediate_broadcast_into(scope, chunk));
            let mut requests: Vec<_> =
                current.iter_mut().map(|chunk| start(&mut chunk[..])).collect();
            pause::at("broadcast");
            for chunk in arrived.drain(..) {
                hand_on(chunk, &mut to, &mut || poll(&mut requests));
            }
            // The others only need the room once this pair is done.
            if source.is_some() {
                next = fill(&mut source);
            }
            let mut idle = 0;
            while !poll(&mut requests) {
                rest(&mut idle);
            }
        });
        if current.iter().any(|chunk| chunk.last() != Some(&VALID)) {
            return false;
        }
        arrived = current;
        arrived.iter_mut().for_each(|chunk| chunk.truncate(chunk.len() - 1));
        current = if source.is_some() { next } else { fill(&mut source) };
        // Rank 0 reads ahead: what it has stopped at is only broadcast in the next turn.
    }
    for chunk in arrived {
        hand_on(chunk, &mut to, &mut || true);
    }
    true
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
