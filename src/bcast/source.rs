//! Decides which bundles travel: the nodes say which ones they need, and rank 0 opens these and describes them.
//!
//! Invariant: a bundle that every node takes from a donor of its own is never opened, unless that fails.
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
    /// These of the job's bundles travel, in their order. The others are not needed or not wanted.
    Deliver(Vec<Option<IncomingBundle>>),
    /// No bundle covers anything that the job uses.
    NothingCovered,
    /// Nothing can be delivered. Only rank 0 knows why.
    Stop,
}

/// What rank 0 alone reads.
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

    /// Opens the bundles that a node needs. `needed` has for each bundle the number of nodes that do.
    fn open(&mut self, needed: &[u64]) -> Result<Vec<Option<IncomingBundle>>> {
        let is_needed = |number: usize| needed.get(number).is_some_and(|nodes| *nodes > 0);
        self.files.open(&self.options, is_needed)
    }

    /// The reader of the bundle with this number, if it is open.
    pub fn reader(&mut self, number: usize) -> Option<&mut Reader> {
        self.files.reader(number)
    }

    /// Opens a bundle that every node was to adopt, and one could not; `None` if that fails.
    pub fn open_late(&mut self, number: usize) -> Option<IncomingBundle> {
        self.files.open_late(&self.options, number).ok()?
    }
}

/// Decides what travels, after each node has checked that it fits. Also returns what rank 0 reads from, or why it cannot;
/// `None` on other nodes.
///
/// # Errors
/// The same one on all nodes, when a decision cannot be shared.
pub(super) fn decide(
    cli: &Cli,
    leaders: &Leaders,
    node: &mut Node,
) -> Result<(Decision, Result<Option<Source>>)> {
    let bundles = cli.bundles.0.len();
    let (mut source, mut incoming) = (Ok(None), Vec::new());
    // At most twice on account of each node: it releases its donors once.
    loop {
        let mine = (0..bundles).flat_map(|n| [node.needs(n), node.is_donated(n)].map(u64::from));
        let (have_it, sums) = leaders.sums(node.has_stage(), mine.collect());
        let (needed, donated): (Vec<u64>, Vec<u64>) =
            sums.as_chunks().0.iter().map(|[needed, donated]| (*needed, *donated)).unzip();
        let all_have_it = have_it == leaders.count() as u64;
        if leaders.is_root() && !all_have_it {
            source = source.and_then(|known: Option<Source>| {
                let mut source = known.map_or_else(|| Source::new(cli, node), Ok)?;
                incoming = source.open(&needed)?;
                Ok(Some(source))
            });
        }
        let decision = leaders.share(leaders.is_root().then(|| match &source {
            _ if all_have_it => Decision::Reuse,
            Ok(Some(_)) => {
                let incoming = std::mem::take(&mut incoming);
                let any = donated.iter().any(|n| *n > 0) || incoming.iter().any(Option::is_some);
                // If no node needs anything, no node can have a stage. Each node says why.
                let none_can = needed.iter().all(|n| *n == 0);
                if any || none_can { Decision::Deliver(incoming) } else { Decision::NothingCovered }
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
