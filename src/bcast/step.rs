//! Runs the staging step: stages on all nodes, waits for the job's end, and removes the stages.
#![forbid(unsafe_code)]

use std::time::Instant;

use crate::bcast::cli::Cli;
use crate::bcast::deliver;
use crate::bcast::leaders::Leaders;
use crate::bcast::node::Node;
use crate::bcast::source::{Decision, Source};
use crate::bcast::wait_for_end::Ending;
use crate::bcast::{source, sync_divergence, wait_for_end};
use crate::error::{Error, Result};
use crate::instrument::timeline;
use crate::instrument::timeline::Times;
use crate::protocol::events::{Event, Ready};
use crate::stage::{Identity, IncomingBundle, Runtime, StageId, teardown};

/// What the step has staged.
enum Outcome {
    /// The stage is ready on at least one node.
    Ready,
    /// There is nothing to stage.
    Nothing,
}

/// Runs the whole step. Rank 0 reports what happens.
pub(super) fn run(cli: &Cli, leaders: &Leaders) {
    let ending = Ending::watch(leaders.is_root());
    if leaders.is_root() {
        ending.say(&Event::Started { nodes: leaders.count() });
    }
    match stage_all(cli, leaders, &ending) {
        Ok(Outcome::Ready) => {
            wait_for_end::until_told(leaders, &ending);
            let (answered, passed) =
                teardown::release().map_or((0, 0), |released| (released.answered, released.passed));
            let (answered, passed) = (leaders.sum(answered), leaders.sum(passed));
            if leaders.is_root() {
                ending.say(&Event::Purged { answered, passed });
            }
        }
        Ok(Outcome::Nothing) | Err(_) => {
            // If the step has failed, this node may still hold a stage or a hollow stage.
            teardown::release();
            teardown::tidy();
        }
    }
    leaders.leave();
}

/// Stages on all nodes. Rank 0 reports the result.
///
/// # Errors
/// Either all nodes return an error, or none does.
fn stage_all(cli: &Cli, leaders: &Leaders, ending: &Ending) -> Result<Outcome> {
    let begun = Instant::now();
    timeline::begin();
    let id = StageId::parse(&cli.id)?;
    // A bundle whose file is missing gets an empty identity. No stage has a bundle with this identity, so rank 0 tries
    // to open the bundle, and reports the error.
    let bundles = cli.bundles.0.iter();
    let identities = || bundles.map(|b| Identity::of(b).unwrap_or_default()).collect::<Vec<_>>();
    let identities = leaders.share(leaders.is_root().then(identities))?;
    let options = cli.build_options();
    let freshness = options.freshness;
    let mut node = Node::prepare(&cli.root, &id, identities, options);
    let reused = leaders.sum(u64::from(node.has_stage())) as usize;
    let (decision, mut source) = source::decide(cli, leaders, &mut node)?;
    if leaders.is_root()
        && let Err(error) = &source
    {
        ending.say(&Event::failed(error));
    }
    let nodes = leaders.count();
    let mut ready = Ready { stage: node.stage_dir(), nodes, reused, ..Ready::default() };
    match decision {
        Decision::Stop => return Err(source.err().unwrap_or_else(stopped)),
        Decision::NothingCovered => {
            if leaders.is_root() {
                let reason = "no bundle covers what the job uses".into();
                ending.say(&Event::Nothing { reason });
            }
            return Ok(Outcome::Nothing);
        }
        Decision::Reuse => node.use_found(),
        Decision::Deliver(incoming) => {
            let source = source.as_mut().ok().and_then(Option::as_mut);
            ready = deliver_all(cli, leaders, ending, &mut node, &incoming, source, ready)?;
        }
    }
    if reused > 0 || ready.adopted > 0 {
        ready.changed = sync_divergence::agree(leaders, &mut node, freshness);
    }
    ready.unpack_seconds = leaders.slowest(begun.elapsed().as_secs_f64());
    ready.staged = leaders.sum(u64::from(node.is_staged())) as usize;
    ready.failures = leaders.gather(node.failure().map(Error::to_string).as_deref());
    if cli.timeline {
        ready.timeline = leaders.gather_values(&Times::now());
    }
    // One node without the trampoline would make the whole job fail.
    if !leaders.all(node.has_trampoline()) || ready.staged == 0 {
        let why = ready.failures.first().cloned().unwrap_or_default();
        let error = node.into_failure().unwrap_or(Error::Unavailable(why));
        if leaders.is_root() {
            ending.say(&Event::failed(&error));
        }
        return Err(error);
    }
    if leaders.is_root() {
        ending.say(&Event::Ready(ready));
    }
    Ok(Outcome::Ready)
}

/// Delivers the `incoming` bundles, and publishes the stage on each node. Rank 0 reads from `source`. `ready` has the
/// figures that are known so far. Returns them with the figures of the delivery.
///
/// # Errors
/// If rank 0 cannot go on with the delivery, all nodes return an error. Only rank 0's error names the cause.
fn deliver_all(
    cli: &Cli,
    leaders: &Leaders,
    ending: &Ending,
    node: &mut Node,
    incoming: &[Option<IncomingBundle>],
    mut source: Option<&mut Source>,
    mut ready: Ready,
) -> Result<Ready> {
    let begun = Instant::now();
    let runtime = Runtime {
        shim: leaders.share_bytes(source.as_mut().map(|s| std::mem::take(&mut s.runtime.shim))),
        trampoline: leaders
            .share_bytes(source.as_mut().map(|s| std::mem::take(&mut s.runtime.trampoline))),
    };
    for (number, bundle) in incoming.iter().enumerate() {
        let adoption_failed = node.adopt(number);
        let mut unadopted = None;
        // A bundle that every node was to adopt is not open yet. If a node could not adopt it, rank 0 opens the bundle
        // now, and each such node checks that it has room to unpack the bundle.
        if leaders.any(adoption_failed) {
            if bundle.is_none() {
                let open = || source.as_mut().and_then(|source| source.open_unadopted(number));
                unadopted = leaders.share(leaders.is_root().then(open))?;
            }
            node.check_room_for_unadopted(bundle.as_ref().or(unadopted.as_ref()));
        }
        let Some(bundle) = bundle.as_ref().or(unadopted.as_ref()) else { continue };
        let needs = node.needs(number);
        // If every node that needed the bundle has failed, rank 0 does not read the bundle.
        if !leaders.any(needs) {
            continue;
        }
        // Nodes that have the bundle do not take part, except rank 0, which reads the bundle for the others.
        let receivers = leaders.among(leaders.is_root() || needs);
        let reader = source.as_mut().and_then(|s| s.reader(number));
        let delivered = receivers.as_ref().map_or(Ok(()), |comm| {
            let wanted = needs.then_some(number);
            deliver::bundle(comm, ending, node, wanted, bundle, cli.chunk, reader)
        });
        // Rank 0 decides for all nodes whether to go on, since a bad bundle is bad on every node.
        let why = delivered.err().inspect(|error| ending.say(&Event::failed(error)));
        if leaders.share(leaders.is_root().then_some(why.is_some()))? {
            return Err(why.unwrap_or_else(stopped));
        }
        ready.bundle_bytes += bundle.length;
    }
    ready.broadcast_seconds = leaders.slowest(begun.elapsed().as_secs_f64());
    node.publish(&runtime);
    ready.unpacked_bytes = leaders.most(node.unpacked_bytes());
    let adopted = node.adopted();
    ready.adopted = leaders.sum(u64::from(adopted.is_some())) as usize;
    ready.adopted_bytes = leaders.most(adopted.map_or(0, |adopted| adopted.bytes));
    let donor = adopted.map(|adopted| adopted.donor).filter(|donor| *donor != 0);
    let (first, last) = leaders.range(donor);
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
