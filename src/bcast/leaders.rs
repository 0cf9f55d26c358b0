//! Finds the leaders, one process on each node, and provides their collective operations.
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

/// Bytes that are gathered from a node: its name and a message.
const MESSAGE: usize = 512;
/// Maximum bytes of one broadcast, far below the largest count in MPI.
const PIECE: usize = 64 << 20;

/// The leaders, from the view of one of them.
pub(super) struct Leaders {
    pub comm: SimpleCommunicator,
    world: SimpleCommunicator,
    // The last field to be dropped, because dropping it finalizes MPI.
    _universe: Universe,
}

/// Starts MPI and finds the leaders. Returns `None` in a process that is no leader, after the leaders have left.
///
/// # Errors
/// [`Error::Unavailable`] in every process, when the world does not have the `promised` number of nodes.
pub(super) fn join(promised: Option<usize>) -> Result<Option<Leaders>> {
    let missing = || Error::Unavailable("failed to start MPI: it is running already".into());
    let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).ok_or_else(missing)?;
    let world = universe.world();
    let size = world.size() as usize;
    if let Some(error) = process_count_error(size) {
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
             helper was built with another MPI than the launcher's (set PYSHM_BCAST to a helper for the \
             launcher's MPI), or the launcher placed the processes on other nodes (set PYSHM_BCAST_LAUNCH)"
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

/// Returns an error if `size`, the number of processes that MPI sees, is not the number that the launcher has started.
/// This happens when the process was built with another MPI than the launcher's.
fn process_count_error(size: usize) -> Option<Error> {
    let names = ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"];
    let (name, said) =
        names.iter().find_map(|n| Some((n, std::env::var(n).ok()?.parse::<usize>().ok()?)))?;
    (said != size).then(|| {
        Error::Unavailable(format!(
            "the launcher started {said} processes ({name}) but MPI sees {size}: this helper was built with another \
             MPI than the launcher's; set PYSHM_BCAST to a helper for the launcher's MPI, or choose another srun --mpi"
        ))
    })
}

/// Waits for all processes of the world without keeping a processor busy.
fn leave(world: &SimpleCommunicator) {
    let mut left = world.immediate_barrier();
    while let Err(request) = left.test() {
        left = request;
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Leaders {
    /// Whether this is rank 0, which alone reads bundles and reports.
    pub fn is_root(&self) -> bool {
        self.comm.rank() == 0
    }

    /// Number of nodes.
    pub fn count(&self) -> usize {
        self.comm.size() as usize
    }

    /// Returns a communicator of the leaders whose `is_member` is true, in the same order; `None` on the other leaders.
    pub fn among(&self, is_member: bool) -> Option<SimpleCommunicator> {
        let color = if is_member { Color::with_value(0) } else { Color::undefined() };
        self.comm.split_by_color_with_key(color, self.comm.rank())
    }

    /// Whether `mine` is true on all nodes.
    pub fn all(&self, mine: bool) -> bool {
        self.sum(u64::from(mine)) == self.comm.size() as u64
    }

    /// Whether `mine` is true on any node.
    pub fn any(&self, mine: bool) -> bool {
        self.most(u64::from(mine)) > 0
    }

    /// The sum of `mine` over all nodes.
    pub fn sum(&self, mine: u64) -> u64 {
        let mut sum = 0;
        self.comm.all_reduce_into(&mine, &mut sum, SystemOperation::sum());
        sum
    }

    /// The number of nodes where `flag` is true, and the sums of `mine` over all nodes.
    pub fn sums(&self, flag: bool, mut mine: Vec<u64>) -> (u64, Vec<u64>) {
        mine.push(u64::from(flag));
        let mut sums = vec![0; mine.len()];
        self.comm.all_reduce_into(&mine[..], &mut sums[..], SystemOperation::sum());
        (sums.pop().unwrap_or_default(), sums)
    }

    /// The smallest and the largest `mine` of the nodes that have one; the smallest is `u64::MAX` if no node has one.
    pub fn range(&self, mine: Option<u64>) -> (u64, u64) {
        let mut smallest = 0;
        let mine_or_more = mine.unwrap_or(u64::MAX);
        self.comm.all_reduce_into(&mine_or_more, &mut smallest, SystemOperation::min());
        (smallest, self.most(mine.unwrap_or(0)))
    }

    /// The maximum of `mine` over all nodes.
    pub fn most(&self, mine: u64) -> u64 {
        let mut most = 0;
        self.comm.all_reduce_into(&mine, &mut most, SystemOperation::max());
        most
    }

    /// Whether this is the first of the leaders that are `eligible`.
    pub fn is_first(&self, eligible: bool) -> bool {
        let mine = if eligible { self.comm.rank() } else { i32::MAX };
        let mut first = i32::MAX;
        self.comm.all_reduce_into(&mine, &mut first, SystemOperation::min());
        eligible && first == mine
    }

    /// The maximum of `mine`, in seconds, over all nodes.
    pub fn slowest(&self, mine: f64) -> f64 {
        let mut slowest = 0.0;
        self.comm.all_reduce_into(&mine, &mut slowest, SystemOperation::max());
        slowest
    }

    /// Sends rank 0's value to all nodes. Returns this value on every node. Other ranks pass `None`.
    ///
    /// # Errors
    /// [`Error::System`] on all nodes, when the value cannot be encoded.
    pub fn share<T: Serialize + DeserializeOwned>(&self, mine: Option<T>) -> Result<T> {
        let failed =
            |e: serde_json::Error| Error::system("share a decision among the nodes")(e.into());
        // If encoding fails, all nodes get empty bytes and fail to decode them.
        let bytes = mine.map(|value| serde_json::to_vec(&value).unwrap_or_default());
        serde_json::from_slice(&self.share_bytes(bytes)).map_err(failed)
    }

    /// Sends rank 0's bytes to all nodes. Returns these bytes on every node. Other ranks pass `None`.
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

    /// Collects the nodes' messages, each with its node's name, on rank 0. Returns an empty list on the other ranks.
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

    /// Collects a value from each node, in the order of the nodes, on rank 0. Returns an empty list on the other ranks.
    pub fn gather_values<T: Serialize + DeserializeOwned>(&self, mine: &T) -> Vec<T> {
        let mut text = serde_json::to_vec(mine).unwrap_or_default();
        let length = self.most(text.len() as u64) as usize;
        // JSON allows blanks after a value.
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
