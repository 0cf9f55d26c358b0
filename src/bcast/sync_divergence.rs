//! Gives the stages of all nodes the same divergence marks. The nodes join their marks, and one node compares its stage
//! with the prefixes. Nodes with a new stage take part too.
//!
//! Invariant: no bundle is broadcast because of marks. Without any mark, each node sends one number.
#![forbid(unsafe_code)]

use mpi::traits::{Communicator, Destination, Source};

use crate::bcast::leaders::Leaders;
use crate::bcast::node::Node;
use crate::error::Result;
use crate::stage::Freshness;
use crate::stage::reuse::divergence;
use crate::stage::reuse::divergence::{Changes, Divergence};

/// Gives all stages the same marks. Unless the bundles were compared with their prefixes just now, one node compares
/// them, and the marks include the changes that this node finds. Returns the number of these changed paths. A node that
/// cannot read or set its marks gives its stage up.
pub(super) fn agree(leaders: &Leaders, node: &mut Node, freshness: Freshness) -> u64 {
    let stage = node.stage();
    let mine = stage.as_ref().map(Divergence::of).transpose();
    let compares = freshness == Freshness::Unknown && leaders.is_first(stage.is_some());
    let changes = match &stage {
        Some(stage) if compares => divergence::find_changes(stage, freshness),
        _ => Ok(Changes::default()),
    };
    let mut known = Divergence::default();
    let mut paths = 0;
    let mut failed = None;
    match (mine, changes) {
        (Ok(mine), Ok(changes)) => {
            paths = changes.paths;
            known.join(&mine.unwrap_or_default());
            known.join(&changes.marks);
        }
        (Err(error), _) | (_, Err(error)) => failed = Some(error),
    }
    let paths = leaders.sum(paths);
    if leaders.most(u64::from(!known.is_empty())) > 0 {
        let all = union(leaders, known);
        let applied: Result<()> = stage.as_ref().map_or(Ok(()), |stage| all.apply(stage));
        failed = failed.or(applied.err());
    }
    if let Some(error) = failed {
        node.fail(error);
    }
    paths
}

/// Joins the marks of all nodes, along a tree to rank 0 and back by a broadcast.
fn union(leaders: &Leaders, mut known: Divergence) -> Divergence {
    let comm = &leaders.comm;
    let (rank, size) = (comm.rank(), comm.size());
    let mut step = 1;
    while step < size {
        if rank & step != 0 {
            comm.process_at_rank(rank - step).send(&known.to_words()[..]);
            break;
        }
        if rank + step < size {
            let (words, _) = comm.process_at_rank(rank + step).receive_vec::<u64>();
            known.join(&Divergence::from_words(&words));
        }
        step <<= 1;
    }
    let bytes = leaders
        .is_root()
        .then(|| known.to_words().iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>());
    let bytes = leaders.share_bytes(bytes);
    let words: Vec<u64> =
        bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    Divergence::from_words(&words)
}
