//! Which bundles come: the nodes say which ones they have, rank 0 opens those that any node needs and says what they are.
//!
//! What must stay true: a bundle that every node takes from a stage of its own is never opened, unless that fails.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::archive::Archive;
use crate::bcast::Cli;
use crate::bcast::leaders::Leaders;
use crate::bcast::node::Node;
use crate::bundle::Reader;
use crate::bundle::Size;
use crate::error::Result;
use crate::manifest::prefix::{PrefixRecord, covers};
use crate::manifest::stack;
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
    /// Of each, what a stage of rank 0's node knows.
    prefixes: Vec<Vec<PrefixRecord>>,
    pub runtime: Runtime,
}

impl Source {
    fn new(cli: &Cli, node: &Node) -> Result<Self> {
        let readers: Vec<_> = cli.bundles.0.iter().map(|_| None).collect();
        let prefixes = (0..readers.len()).map(|number| node.prefixes(number).to_vec()).collect();
        Ok(Self { readers, prefixes, runtime: Runtime::read()? })
    }

    /// Opens the bundles that are `needed`, and says which of them come.
    fn open(&mut self, cli: &Cli, needed: &[u64]) -> Result<Vec<Option<Coming>>> {
        let is_needed = |number: usize| needed.get(number).is_some_and(|nodes| *nodes > 0);
        self.open_those(cli, |number, _| is_needed(number))?;
        let mut wanted = vec![true; self.readers.len()];
        if !cli.interests.is_empty() {
            let covers = |r: &Reader| covers(r.prefixes(), &cli.interests);
            if !self.readers.iter().flatten().all(covers) {
                // Whether one is wanted that covers nothing by itself, all of them decide.
                self.open_those(cli, |_, known| known.is_empty())?;
            }
            let readers = self.readers.iter().zip(&self.prefixes);
            let prefixes: Vec<&[PrefixRecord]> =
                readers.map(|(r, known)| r.as_ref().map_or(&known[..], Reader::prefixes)).collect();
            wanted = stack::wanted(&prefixes, &cli.interests);
        }
        let coming = |(number, reader): (usize, &Option<Reader>)| {
            let r = reader.as_ref().filter(|_| wanted[number] && is_needed(number))?;
            Some(Coming {
                name: r.path().to_path_buf(),
                length: r.len(),
                size: r.size(),
                archive: r.archive().cloned(),
            })
        };
        Ok(self.readers.iter().enumerate().map(coming).collect())
    }

    /// Opens those of the bundles that are not open yet.
    fn open_those(
        &mut self,
        cli: &Cli,
        which: impl Fn(usize, &[PrefixRecord]) -> bool,
    ) -> Result<()> {
        for (number, reader) in self.readers.iter_mut().enumerate() {
            if reader.is_none() && which(number, &self.prefixes[number]) {
                *reader = Some(Reader::open(&cli.bundles.0[number])?);
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
        self.open(cli, &needed).ok()?.into_iter().nth(number)?
    }
}

/// Decides what comes. Nodes have checked then that it fits. What rank 0 reads from is its own, or why it cannot.
pub(super) fn decide(
    cli: &Cli,
    leaders: &Leaders,
    node: &mut Node,
) -> Result<(Plan, Result<Option<Source>>)> {
    let bundles = cli.bundles.0.len();
    let (mut source, mut coming) = (Ok(None), Vec::new());
    // Twice at most: a node gives up what it would take from its stages once.
    loop {
        let mine = (0..bundles).flat_map(|n| [node.needs(n), node.adopts(n)].map(u64::from));
        let (have_it, sums) = leaders.sums(node.has_stage(), mine.collect());
        let (needed, adopted): (Vec<u64>, Vec<u64>) =
            sums.as_chunks().0.iter().map(|[needed, adopted]| (*needed, *adopted)).unzip();
        let all_have_it = have_it == leaders.count() as u64;
        if leaders.is_root() && !all_have_it {
            source = source.and_then(|known: Option<Source>| {
                let mut source = known.map_or_else(|| Source::new(cli, node), Ok)?;
                coming = source.open(cli, &needed)?;
                Ok(Some(source))
            });
        }
        let plan = leaders.share(leaders.is_root().then(|| match &source {
            _ if all_have_it => Plan::Reuse,
            Ok(Some(_)) => {
                let coming = std::mem::take(&mut coming);
                let any = adopted.iter().any(|n| *n > 0) || coming.iter().any(Option::is_some);
                // Where nobody has need of anything no node can have a stage; each says why.
                let none_can = needed.iter().all(|n| *n == 0);
                if any || none_can { Plan::Deliver(coming) } else { Plan::Nothing }
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
