//! `pyshm-bcast`: the staging step of a job on several nodes, one process on each.
//!
//! The leaders say which of them have the stage from an earlier step, or other stages with some of its bundles. For
//! those that need one, rank 0 alone opens a bundle, exactly once, and broadcasts it among them; every leader unpacks
//! what arrives, takes from its stages what they have, and publishes its node's stage. Then all sleep until rank 0's
//! standard input ends, purge, and exit. What happened is said by rank 0 as [`Event`]s, one JSON object a line.
//!
//! What must stay true: every leader takes part in every collective operation in the same order, whatever has gone
//! wrong on its node; MPI is only called by the main thread; and whatever ends a process, its node is clean behind it.
#![forbid(unsafe_code)]

mod deliver;
mod leaders;
mod node;
mod source;
mod sync_divergence;
mod wait_for_end;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::bcast::leaders::Leaders;
use crate::bcast::node::Node;
use crate::bcast::source::{Coming, Plan, Source};
use crate::bcast::wait_for_end::Ending;
use crate::bundle::NamedBundles;
use crate::error::{Error, Result};
use crate::instrument::timeline;
use crate::instrument::timeline::Times;
use crate::process::signals::FOR_THE_COMMAND;
use crate::process::{affinity, memory_policy, orphan, signals};
use crate::protocol::events::{Event, Ready};
use crate::stage::{BuildOptions, Identity, Place, Runtime, StageId, job_record, teardown};
use crate::{settings, stage};

/// Started by pyshm-run with one process on each node of a job; not meant to be started by hand
#[derive(Debug, Clone, Parser)]
#[command(name = "pyshm-bcast", version)]
pub struct Cli {
    /// Directory in the nodes' memory where stages lie
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    root: PathBuf,
    /// The stage's name
    #[arg(long, default_value = "")]
    id: String,
    /// Only remove what a step has left that was killed; needs no MPI
    #[arg(long)]
    sweep: bool,
    /// Number of nodes that the step must have
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// Threads that unpack
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Leave the stage on the nodes
    #[arg(long)]
    keep: bool,
    /// Bytes that are broadcast at once
    #[arg(long, value_name = "SIZE", default_value = settings::table::CHUNK.default, value_parser = settings::value::chunk)]
    chunk: usize,
    /// Say what each node was busy with
    #[arg(long)]
    timeline: bool,
    /// Bytes that stay free on each node
    #[arg(long, value_name = "BYTES")]
    reserve: Option<u64>,
    /// The bundles are as their prefixes are now: do not compare them
    #[arg(long)]
    fresh: bool,
    /// Stage only bundles that cover one of these paths
    #[arg(long = "interest", value_name = "PATH")]
    interests: Vec<PathBuf>,
    #[command(flatten)]
    bundles: NamedBundles,
}

/// `pyshm-bcast`.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.sweep {
        return match sweep(&cli.root) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.exit_code().into(),
        };
    }
    // An application may handle Ctrl-C's signal too, and go on: what ends this process is SIGTERM, and its parent's end.
    let handled = signals::end_on(&[SIGTERM]).and_then(|()| {
        signals::ignore(&[SIGHUP, SIGINT, SIGQUIT])?;
        signals::ignore(&FOR_THE_COMMAND)
    });
    if let Err(error) = handled {
        warn_line!("pyshm-bcast: {error}");
        return error.exit_code().into();
    }
    orphan::end_with_parent();
    affinity::use_all_processors();
    memory_policy::prepare();
    match leaders::join(cli.nodes) {
        Err(error) => {
            warn_line!("pyshm-bcast: {error}");
            error.exit_code().into()
        }
        // A second process on a node: it has waited for the leaders.
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(leaders)) => {
            work(&cli, &leaders);
            // Also after a failure, which rank 0 has said: some launchers kill all others when one process ends with
            // another code, before these have ended MPI.
            ExitCode::SUCCESS
        }
    }
}

/// Removes from this node what nobody uses.
fn sweep(root: &Path) -> Result<()> {
    let place = Place::open(root)?;
    let removed = stage::collect_garbage(&place, &[]).map(drop);
    job_record::sweep(&place);
    place.tidy();
    removed
}

fn work(cli: &Cli, leaders: &Leaders) {
    let ending = Ending::watch(leaders.is_root());
    if leaders.is_root() {
        ending.say(&Event::Started { nodes: leaders.count() });
    }
    match stage_all(cli, leaders, &ending) {
        Ok(Some(_)) => {
            wait_for_end::until_told(leaders, &ending);
            let (answered, passed) =
                teardown::release().map_or((0, 0), |released| (released.answered, released.passed));
            let (answered, passed) = (leaders.sum(answered), leaders.sum(passed));
            if leaders.is_root() {
                ending.say(&Event::Purged { answered, passed });
            }
        }
        Ok(None) | Err(_) => {
            // Hollow stages, where others of the same step have failed.
            teardown::release();
            teardown::tidy();
        }
    }
    leaders.leave();
}

/// Stages on all nodes; `None` when there is nothing to stage. Rank 0 says what has come of it. Fails on all nodes
/// or on none.
fn stage_all(cli: &Cli, leaders: &Leaders, ending: &Ending) -> Result<Option<()>> {
    let begun = Instant::now();
    timeline::begin();
    let id = StageId::parse(&cli.id)?;
    // One that is missing is said when it is opened: no node has it.
    let named = cli.bundles.0.iter();
    let identities = || named.map(|b| Identity::of(b).unwrap_or_default()).collect::<Vec<_>>();
    let identities = leaders.share(leaders.is_root().then(identities))?;
    let (threads, keep, reserve) = (cli.threads, cli.keep, cli.reserve);
    let interests = (!cli.interests.is_empty()).then(|| cli.interests.clone());
    let options =
        BuildOptions { threads, keep, reserve, identities, interests, ..Default::default() };
    let mut node = Node::prepare(&cli.root, &id, options);
    let reused = leaders.sum(u64::from(node.has_stage())) as usize;
    let (plan, mut source) = source::decide(cli, leaders, &mut node)?;
    if leaders.is_root()
        && let Err(error) = &source
    {
        ending.say(&Event::failed(error));
    }
    let bundles = match plan {
        Plan::Stop => return Err(source.err().unwrap_or_else(stopped)),
        Plan::Nothing => {
            if leaders.is_root() {
                let reason = "no bundle covers what the job uses".into();
                ending.say(&Event::Nothing { reason });
            }
            return Ok(None);
        }
        Plan::Reuse => None,
        Plan::Deliver(bundles) => Some(bundles),
    };
    let source = source.as_mut().ok().and_then(Option::as_mut);
    let nodes = leaders.count();
    let mut ready = Ready { stage: node.stage_dir(), nodes, reused, ..Ready::default() };
    match bundles {
        None => node.hold(cli.keep),
        Some(bundles) => {
            ready = deliver_all(cli, leaders, ending, &mut node, &bundles, source, ready)?;
        }
    }
    if reused > 0 || ready.adopted > 0 {
        ready.changed = sync_divergence::agree(leaders, &mut node, !cli.fresh);
    }
    ready.unpack_seconds = leaders.slowest(begun.elapsed().as_secs_f64());
    ready.staged = leaders.sum(u64::from(node.is_staged())) as usize;
    ready.failures = leaders.gather(node.failure().as_deref());
    if cli.timeline {
        ready.timeline = leaders.gather_values(&Times::now());
    }
    // One node without the trampoline would take the whole job down.
    if !leaders.all(node.has_trampoline()) || ready.staged == 0 {
        let why = ready.failures.first().cloned().unwrap_or_default();
        let error = node.into_error().unwrap_or(Error::Unavailable(why));
        if leaders.is_root() {
            ending.say(&Event::failed(&error));
        }
        return Err(error);
    }
    if leaders.is_root() {
        ending.say(&Event::Ready(ready));
    }
    Ok(Some(()))
}

fn deliver_all(
    cli: &Cli,
    leaders: &Leaders,
    ending: &Ending,
    node: &mut Node,
    bundles: &[Option<Coming>],
    mut source: Option<&mut Source>,
    mut ready: Ready,
) -> Result<Ready> {
    let begun = Instant::now();
    let runtime = Runtime {
        shim: leaders.share_bytes(source.as_mut().map(|s| std::mem::take(&mut s.runtime.shim))),
        trampoline: leaders
            .share_bytes(source.as_mut().map(|s| std::mem::take(&mut s.runtime.trampoline))),
    };
    for (number, coming) in bundles.iter().enumerate() {
        let missed = node.adopt(number);
        let mut late = None;
        if leaders.most(u64::from(missed)) > 0 {
            if coming.is_none() {
                let open = || source.as_mut().and_then(|source| source.late(cli, number));
                late = leaders.share(leaders.is_root().then(open))?;
            }
            node.expect_missed(coming.as_ref().or(late.as_ref()));
        }
        let Some(coming) = coming.as_ref().or(late.as_ref()) else { continue };
        let needs = node.needs(number);
        // Where nobody can take it any more, nothing is read.
        if leaders.most(u64::from(needs)) == 0 {
            continue;
        }
        // Nodes that have it stay out of it; rank 0 reads, whether it needs the bundle or not.
        let receivers = leaders.among(leaders.is_root() || needs);
        let reader = source.as_mut().and_then(|s| s.reader(number));
        let delivered = receivers.as_ref().map_or(Ok(()), |comm| {
            let wanted = needs.then_some(number);
            deliver::bundle(comm, ending, node, wanted, coming, cli.chunk, reader)
        });
        // Rank 0 knows whether going on makes sense: what is wrong with a bundle is wrong on every node.
        let why = delivered.err().inspect(|error| ending.say(&Event::failed(error)));
        if leaders.share(leaders.is_root().then_some(why.is_some()))? {
            return Err(why.unwrap_or_else(stopped));
        }
        ready.bundle_bytes += coming.length;
    }
    ready.broadcast_seconds = leaders.slowest(begun.elapsed().as_secs_f64());
    node.publish(&runtime, cli.keep);
    ready.unpacked_bytes = leaders.most(node.unpacked_bytes());
    let adopted = node.adopted().filter(|_| node.is_staged());
    ready.adopted = leaders.sum(u64::from(adopted.is_some())) as usize;
    ready.adopted_bytes = leaders.most(adopted.map_or(0, |(_, bytes)| bytes));
    let (first, last) = leaders.range(adopted.map(|(from, _)| from).filter(|from| *from != 0));
    if ready.adopted > 0 && first == last {
        let name = format!("{first:016x}");
        ready.adopted_from = vec![ready.stage.with_file_name(name)];
    }
    ready.warnings = node.warnings().to_vec();
    Ok(ready)
}

fn stopped() -> Error {
    Error::Unavailable("rank 0 of the staging step has stopped".into())
}
