//! One process per node, and what they do together.
#![forbid(unsafe_code)]

use std::time::Duration;

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::{Communicator, CommunicatorCollectives, Root};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::process::shm_segments;

/// Bytes of a node's name and message that are gathered.
const MESSAGE: usize = 512;
/// Bytes of one broadcast, far below what a count of MPI can say.
const PIECE: usize = 64 << 20;

/// The leaders, seen by one of them.
pub(super) struct Leaders {
    pub comm: SimpleCommunicator,
    world: SimpleCommunicator,
    // Dropped last: it finalizes MPI.
    _universe: Universe,
}

/// Starts MPI and finds the leaders; `None` in a process that is none, after the leaders have left.
///
/// # Errors
/// [`Error::Unavailable`] when the world is not the one that was promised, in every process.
pub(super) fn join(promised: Option<usize>) -> Result<Option<Leaders>> {
    let missing = || Error::Unavailable("failed to start MPI: it is running already".into());
    let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).ok_or_else(missing)?;
    let world = universe.world();
    let size = world.size() as usize;
    if let Some(error) = singleton(size) {
        return Err(error);
    }
    let node = world.split_shared(world.rank());
    let leads = node.rank() == 0;
    if node.size() == 1 {
        shm_segments::remove_mapped();
    }
    let mut count = 0u64;
    world.all_reduce_into(&u64::from(leads), &mut count, SystemOperation::sum());
    if let Some(promised) = promised.filter(|p| *p as u64 != count) {
        return Err(Error::Unavailable(format!(
            "the staging step has {size} processes on {count} nodes instead of one on each of {promised}: either this \
             helper was built with another MPI than the launcher's (set PYSHM_BCAST to one that was not), or the \
             launcher placed it elsewhere (set PYSHM_BCAST_LAUNCH)"
        )));
    }
    let color = if leads { Color::with_value(0) } else { Color::undefined() };
    match world.split_by_color_with_key(color, world.rank()) {
        Some(comm) => Ok(Some(Leaders { comm, world, _universe: universe })),
        None => {
            leave(&world);
            Ok(None)
        }
    }
}

/// A process that the launcher says is one of several, but that MPI sees alone, has the wrong MPI.
fn singleton(size: usize) -> Option<Error> {
    let names = ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"];
    let (name, said) =
        names.iter().find_map(|n| Some((n, std::env::var(n).ok()?.parse::<usize>().ok()?)))?;
    (said != size).then(|| {
        Error::Unavailable(format!(
            "the launcher started {said} processes ({name}) but MPI sees {size}: this helper was built with another \
             MPI than the launcher's; set PYSHM_BCAST to one that was not, or choose another srun --mpi"
        ))
    })
}

/// Waits for all processes of the world, without keeping a processor busy.
fn leave(world: &SimpleCommunicator) {
    let mut left = world.immediate_barrier();
    while let Err(request) = left.test() {
        left = request;
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Leaders {
    /// Whether this is rank 0, which alone reads and speaks.
    pub fn is_root(&self) -> bool {
        self.comm.rank() == 0
    }

    /// Number of nodes.
    pub fn count(&self) -> usize {
        self.comm.size() as usize
    }

    /// Those that are `in_it`, in the same order, as one of them sees them; `None` for the others.
    pub fn among(&self, in_it: bool) -> Option<SimpleCommunicator> {
        let color = if in_it { Color::with_value(0) } else { Color::undefined() };
        self.comm.split_by_color_with_key(color, self.comm.rank())
    }

    /// Whether it is true on all nodes.
    pub fn all(&self, mine: bool) -> bool {
        self.sum(u64::from(mine)) == self.comm.size() as u64
    }

    /// The sum over all nodes.
    pub fn sum(&self, mine: u64) -> u64 {
        let mut sum = 0;
        self.comm.all_reduce_into(&mine, &mut sum, SystemOperation::sum());
        sum
    }

    /// The sums over all nodes of several numbers, and the number of nodes where `one` is true.
    pub fn sums(&self, one: bool, mut mine: Vec<u64>) -> (u64, Vec<u64>) {
        mine.push(u64::from(one));
        let mut sums = vec![0; mine.len()];
        self.comm.all_reduce_into(&mine[..], &mut sums[..], SystemOperation::sum());
        (sums.pop().unwrap_or_default(), sums)
    }

    /// The smallest and the largest number of the nodes that have one.
    pub fn range(&self, mine: Option<u64>) -> (u64, u64) {
        let mut smallest = 0;
        let mine_or_more = mine.unwrap_or(u64::MAX);
        self.comm.all_reduce_into(&mine_or_more, &mut smallest, SystemOperation::min());
        (smallest, self.most(mine.unwrap_or(0)))
    }

    /// The largest number of all nodes.
    pub fn most(&self, mine: u64) -> u64 {
        let mut most = 0;
        self.comm.all_reduce_into(&mine, &mut most, SystemOperation::max());
        most
    }

    /// Whether this is the first one of those that `may`.
    pub fn is_first(&self, may: bool) -> bool {
        let mine = if may { self.comm.rank() } else { i32::MAX };
        let mut first = i32::MAX;
        self.comm.all_reduce_into(&mine, &mut first, SystemOperation::min());
        may && first == mine
    }

    /// The largest number of seconds of all nodes.
    pub fn slowest(&self, mine: f64) -> f64 {
        let mut slowest = 0.0;
        self.comm.all_reduce_into(&mine, &mut slowest, SystemOperation::max());
        slowest
    }

    /// Rank 0's value, on all nodes.
    pub fn share<T: Serialize + DeserializeOwned>(&self, mine: Option<T>) -> Result<T> {
        let failed =
            |e: serde_json::Error| Error::system("share a decision among the nodes")(e.into());
        // An error here is one everywhere: the others read nothing.
        let bytes = mine.map(|value| serde_json::to_vec(&value).unwrap_or_default());
        serde_json::from_slice(&self.share_bytes(bytes)).map_err(failed)
    }

    /// Rank 0's bytes, on all nodes.
    pub fn share_bytes(&self, mine: Option<Vec<u8>>) -> Vec<u8> {
        let root = self.comm.process_at_rank(0);
        let mut bytes = mine.unwrap_or_default();
        let mut length = bytes.len() as u64;
        root.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        for piece in bytes.chunks_mut(PIECE) {
            root.broadcast_into(piece);
        }
        bytes
    }

    /// The messages of nodes that have one, with the nodes' names, on rank 0; nothing elsewhere.
    pub fn gather(&self, mine: Option<&str>) -> Vec<String> {
        let mut text = [0u8; MESSAGE];
        if let Some(message) = mine {
            let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let line = format!("{node}: {message}");
            let length = line.len().min(MESSAGE);
            text[..length].copy_from_slice(&line.as_bytes()[..length]);
        }
        let root = self.comm.process_at_rank(0);
        if !self.is_root() {
            root.gather_into(&text[..]);
            return Vec::new();
        }
        let mut all = vec![0u8; MESSAGE * self.count()];
        root.gather_into_root(&text[..], &mut all[..]);
        let message =
            |text: &[u8]| String::from_utf8_lossy(text).trim_end_matches('\0').to_string();
        all.chunks(MESSAGE).map(message).filter(|m| !m.is_empty()).collect()
    }

    /// What every node says, in the order of the nodes, on rank 0; nothing elsewhere.
    pub fn gather_values<T: Serialize + DeserializeOwned>(&self, mine: &T) -> Vec<T> {
        let mut text = serde_json::to_vec(mine).unwrap_or_default();
        let length = self.most(text.len() as u64) as usize;
        // JSON does not mind blanks behind it.
        text.resize(length, b' ');
        let root = self.comm.process_at_rank(0);
        if !self.is_root() {
            root.gather_into(&text[..]);
            return Vec::new();
        }
        let mut all = vec![0u8; length * self.count()];
        root.gather_into_root(&text[..], &mut all[..]);
        all.chunks(length.max(1)).filter_map(|text| serde_json::from_slice(text).ok()).collect()
    }

    /// Waits for all processes of the world before MPI ends.
    pub fn leave(&self) {
        leave(&self.world);
    }
}
