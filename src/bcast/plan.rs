//! Which bundles come: the nodes say which ones they have, rank 0 opens those that any node needs and says what they are.
//!
//! What must stay true: a bundle that every node takes from a stage of its own is never opened, unless that fails.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Cli;
use super::leaders::Leaders;
use super::node::Node;
use crate::bundle::Reader;
use crate::bundle::manifest::covers;
use crate::bundle::reader::{Archive, Size};
use crate::error::Result;
use crate::stage::Runtime;

/// What rank 0 has decided, for all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Plan {
    /// Every node has the stage.
    Reuse,
    /// Of the bundles that were named, in their order, these come. The others every node has, or nobody wants them.
    Deliver(Vec<Option<Coming>>),
    /// No bundle covers anything the job uses.
    Nothing,
    /// Nothing can be delivered; rank 0 has said why.
    Stop,
}

/// A bundle that comes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Coming {
    /// Its name for messages.
    pub name: PathBuf,
    /// Its bytes.
    pub length: u64,
    /// What it takes in a stage.
    pub size: Size,
    /// What to know of it beforehand, if it is a tar that others made.
    pub archive: Option<Archive>,
}

/// What rank 0 alone reads.
pub(super) struct Source {
    /// Of each bundle that was named, if it was opened.
    readers: Vec<Option<Reader>>,
    pub runtime: Runtime,
}

impl Source {
    fn new(cli: &Cli) -> Result<Self> {
        let readers = cli.bundles.0.iter().map(|_| None).collect();
        Ok(Self { readers, runtime: Runtime::read()? })
    }

    /// Opens the bundles that are `needed` and not open yet.
    fn open(&mut self, cli: &Cli, needed: &[u64]) -> Result<()> {
        for ((reader, bundle), nodes) in self.readers.iter_mut().zip(&cli.bundles.0).zip(needed) {
            if *nodes > 0 && reader.is_none() {
                *reader = Some(Reader::open(bundle)?);
            }
        }
        Ok(())
    }

    /// The open bundle with this number.
    pub fn reader(&mut self, number: usize) -> Option<&mut Reader> {
        self.readers.get_mut(number)?.as_mut()
    }

    /// Opens a bundle that every node had, and one could not take; `None` where it cannot be opened either.
    pub fn late(&mut self, cli: &Cli, number: usize) -> Option<Coming> {
        let needed: Vec<u64> = (0..self.readers.len()).map(|n| u64::from(n == number)).collect();
        self.open(cli, &needed).ok()?;
        self.coming(cli).into_iter().nth(number)?
    }

    fn coming(&self, cli: &Cli) -> Vec<Option<Coming>> {
        let wanted = |r: &&Reader| cli.interests.is_empty() || covers(r.prefixes(), &cli.interests);
        let coming = |r: &Reader| Coming {
            name: r.path().to_path_buf(),
            length: r.len(),
            size: r.size(),
            archive: r.archive().cloned(),
        };
        self.readers.iter().map(|r| r.as_ref().filter(wanted).map(coming)).collect()
    }
}

/// Decides what comes. Nodes have checked then that it fits. What rank 0 reads from is its own, or why it cannot.
pub(super) fn decide(
    cli: &Cli,
    leaders: &Leaders,
    node: &mut Node,
) -> Result<(Plan, Result<Option<Source>>)> {
    let bundles = cli.bundles.0.len();
    let mut source = Ok(None);
    // Twice at most: a node gives up what it would take from its stages once.
    loop {
        let mine = (0..bundles).flat_map(|n| [node.needs(n), node.adopts(n)].map(u64::from));
        let (have_it, sums) = leaders.sums(node.has_stage(), mine.collect());
        let (needed, adopted): (Vec<u64>, Vec<u64>) =
            sums.as_chunks().0.iter().map(|[needed, adopted]| (*needed, *adopted)).unzip();
        let all_have_it = have_it == leaders.count() as u64;
        if leaders.is_root() && !all_have_it {
            source = source.and_then(|known: Option<Source>| {
                let mut source = known.map_or_else(|| Source::new(cli), Ok)?;
                source.open(cli, &needed)?;
                Ok(Some(source))
            });
        }
        let plan = leaders.share(leaders.is_root().then(|| match &source {
            _ if all_have_it => Plan::Reuse,
            Ok(Some(source)) => {
                let coming = source.coming(cli);
                let any = adopted.iter().any(|n| *n > 0) || coming.iter().any(Option::is_some);
                if any { Plan::Deliver(coming) } else { Plan::Nothing }
            }
            _ => Plan::Stop,
        }))?;
        let again = match &plan {
            Plan::Deliver(bundles) => node.expect(bundles),
            _ => false,
        };
        if leaders.most(u64::from(again)) == 0 {
            return Ok((plan, source));
        }
    }
}
