//! Decides which bundles are broadcast. The nodes say which bundles they need, and rank 0 opens and describes these.
//!
//! Invariant: a bundle that every node takes from a donor of its own is never opened, unless taking it fails.
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
    /// These of the job's bundles are broadcast, in their order. The others (`None`) are not needed or not wanted.
    Deliver(Vec<Option<IncomingBundle>>),
    /// No bundle covers anything that the job uses.
    NothingCovered,
    /// Nothing can be delivered. Only rank 0 knows why.
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

    /// Opens a bundle that every node was to adopt, when a node could not adopt it; `None` if opening fails.
    pub fn open_late(&mut self, number: usize) -> Option<IncomingBundle> {
        self.files.open_late(&self.options, number).ok()?
    }
}

/// Decides which bundles are broadcast, and lets each node check that they fit. Rank 0 also gets the source to read
/// from, or the error of opening it; other nodes get `None`.
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
                // If no node needs a bundle and none has a donor, every node without the stage has failed, and says
                // why.
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
