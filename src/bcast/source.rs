//! Decides which bundles are broadcast. The nodes say which bundles they need, and rank 0 opens these bundles.
//!
//! Invariant: a bundle that every node takes from its own donor is opened only if a node fails to take it.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::bcast::cli::Cli;
use crate::bcast::leaders::Leaders;
use crate::bcast::node::Node;
use crate::bundle::Reader;
use crate::error::Result;
use crate::stage::session::Space;
use crate::stage::{BuildOptions, BundleFiles, IncomingBundle, Runtime};

/// What rank 0 has decided for all nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Decision {
    /// Every node has the stage.
    Reuse,
    /// These bundles are broadcast. The list has one item for each bundle of the job; `None` is a bundle that is not
    /// needed or not wanted.
    Deliver(Vec<Option<IncomingBundle>>),
    /// No bundle covers anything that the job uses.
    NothingCovered,
    /// No bundle can be delivered. Only rank 0 knows why.
    Stop,
}

/// The files that only rank 0 reads.
pub(super) struct Source {
    options: BuildOptions,
    files: BundleFiles,
    pub runtime: Runtime,
}

impl Source {
    fn new(cli: &Cli, node: &Node) -> Result<Self> {
        let bundles = &cli.bundles.0;
        let prefixes = (0..bundles.len()).map(|number| node.prefixes(number).to_vec()).collect();
        let files = BundleFiles::new(bundles, prefixes);
        Ok(Self { options: cli.build_options(), files, runtime: Runtime::read()? })
    }

    /// Opens the bundles that a node needs. `needed` has for each bundle the number of nodes that need it.
    fn open(&mut self, needed: &[u64]) -> Result<Vec<Option<IncomingBundle>>> {
        let is_needed = |number: usize| needed.get(number).is_some_and(|nodes| *nodes > 0);
        self.files.open(&self.options, is_needed)
    }

    /// The reader of the bundle with this number, if it is open.
    pub fn reader(&mut self, number: usize) -> Option<&mut Reader> {
        self.files.reader(number)
    }

    /// Opens a bundle that every node was to adopt, and that at least one node could not adopt; `None` if opening
    /// fails.
    pub fn open_unadopted(&mut self, number: usize) -> Option<IncomingBundle> {
        self.files.open_late(&self.options, number).ok()?
    }
}

/// Decides which bundles are broadcast, and lets each node check that these bundles fit. Rank 0 also gets the source
/// from which it reads, or the error with which opening the bundles failed. The other nodes get `None`.
///
/// # Errors
/// The same error on all nodes, when a decision cannot be shared.
pub(super) fn decide(
    cli: &Cli,
    leaders: &Leaders,
    node: &mut Node,
) -> Result<(Decision, Result<Option<Source>>)> {
    let bundles = cli.bundles.0.len();
    let (mut source, mut incoming) = (Ok(None), Vec::new());
    // The loop ends, since each node releases its donors at most once.
    loop {
        let mine = (0..bundles).flat_map(|n| [node.needs(n), node.is_donated(n)].map(u64::from));
        let (with_stage, sums) = leaders.sums(node.has_stage(), mine.collect());
        let (needed, donated): (Vec<u64>, Vec<u64>) =
            sums.as_chunks().0.iter().map(|[needed, donated]| (*needed, *donated)).unzip();
        let all_have_stage = with_stage == leaders.count() as u64;
        if leaders.is_root() && !all_have_stage {
            source = source.and_then(|known: Option<Source>| {
                let mut source = known.map_or_else(|| Source::new(cli, node), Ok)?;
                incoming = source.open(&needed)?;
                Ok(Some(source))
            });
        }
        let decision = leaders.share(leaders.is_root().then(|| match &source {
            _ if all_have_stage => Decision::Reuse,
            Ok(Some(_)) => {
                let incoming = std::mem::take(&mut incoming);
                let any = donated.iter().any(|n| *n > 0) || incoming.iter().any(Option::is_some);
                // If no bundle is needed and none is donated, every node without the stage has failed. Then a delivery
                // of no bundles lets these nodes report their errors.
                let all_failed = needed.iter().all(|n| *n == 0);
                if any || all_failed {
                    Decision::Deliver(incoming)
                } else {
                    Decision::NothingCovered
                }
            }
            _ => Decision::Stop,
        }))?;
        let space = match &decision {
            Decision::Deliver(incoming) => node.expect(incoming),
            _ => Space::Enough,
        };
        if !leaders.any(space == Space::DonorsReleased) {
            return Ok((decision, source));
        }
    }
}
