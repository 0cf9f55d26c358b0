//! Drives a staging session from the bundles' files, on this node alone and without MPI.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use crate::bundle::{Named, Reader};
use crate::error::Result;
use crate::instrument::timeline;
use crate::stage::build::{IncomingBundle, Runtime};
use crate::stage::build_options::BuildOptions;
use crate::stage::bundle_files::BundleFiles;
use crate::stage::id::{Identity, StageId};
use crate::stage::published::Stage;
use crate::stage::reuse::divergence;
use crate::stage::session::{Adopted, Space, StagingSession};
use crate::stage::user_dir::UserDir;

/// Bytes of one read. The allocator keeps buffers of this size for reuse, whereas fresh memory costs a page fault every
/// 4 kB ([`crate::process::memory_policy`]).
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that may wait to be unpacked.
const WAITING: usize = 8;

/// A stage on this node, and figures about how it was made.
#[derive(Debug)]
pub struct Staged {
    /// The stage.
    pub stage: Stage,
    /// Whether the stage existed already.
    pub reused: bool,
    /// Bytes of the bundles that were read; 0 if the stage existed already.
    pub bundle_bytes: u64,
    /// Bytes of the stage's files.
    pub unpacked_bytes: u64,
    /// Bytes of the files that were taken from other stages.
    pub adopted_bytes: u64,
    /// The directories of the stages from which files were taken.
    pub adopted_from: Vec<PathBuf>,
    /// Number of paths that have changed since the bundles were packed; the stage does not answer for these paths. 0 if
    /// nothing of the stage was staged before.
    pub changed: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Makes the stage `id` of `bundles`, or finds it if it exists already. Returns `None` if `options` want none of the
/// bundles. Stages that nobody uses any more are removed first.
///
/// # Errors
/// As [`StagingSession`] and [`Reader::open`]. Then nothing of the stage is left.
pub fn stage_here(
    user_dir: &UserDir,
    id: &StageId,
    bundles: &[Named],
    options: BuildOptions,
) -> Result<Option<Staged>> {
    let begun = Instant::now();
    timeline::begin();
    let freshness = options.freshness;
    let identities = || bundles.iter().map(Identity::of).collect();
    let mut session = StagingSession::open(user_dir, id, options.clone(), identities)?;
    let (stage, reused) = match session.found().cloned() {
        Some(stage) => (stage, true),
        None => match build(&mut session, bundles, &options)? {
            Some(stage) => (stage, false),
            None => return Ok(None),
        },
    };
    // If the stage existed already, its last user may be about to remove it.
    let _lease = stage.lease()?;
    let totals = session.into_totals();
    let mut changed = 0;
    if reused || !totals.donors.is_empty() {
        let changes = divergence::find_changes(&stage, freshness)?;
        changes.marks.apply(&stage)?;
        changed = changes.paths;
    }
    Ok(Some(Staged {
        stage,
        reused,
        bundle_bytes: totals.bundle_bytes,
        unpacked_bytes: totals.unpacked_bytes,
        adopted_bytes: totals.adopted_bytes,
        adopted_from: totals.donors,
        changed,
        seconds: begun.elapsed().as_secs_f64(),
        warnings: totals.warnings,
    }))
}

/// Builds and publishes the stage; `None` if `options` want none of the bundles.
fn build(
    session: &mut StagingSession,
    bundles: &[Named],
    options: &BuildOptions,
) -> Result<Option<Stage>> {
    let prefixes = (0..bundles.len()).map(|number| session.prefixes(number).to_vec()).collect();
    let mut files = BundleFiles::new(bundles, prefixes);
    let incoming = loop {
        let incoming = files.open(options, |number| session.needs(number))?;
        if !session.has_donors() && incoming.iter().all(Option::is_none) {
            return Ok(None);
        }
        session.start()?;
        if session.expect(&incoming)? == Space::Enough {
            break incoming;
        }
    };
    let runtime = Runtime::read()?;
    for (number, mut bundle) in incoming.into_iter().enumerate() {
        if let Adopted::Failed(failed) = session.adopt(number)? {
            let Some(unadopted) = files.open_late(options, number)? else {
                return Err(failed.error);
            };
            session.expect_more(unadopted.size)?;
            let (name, donor) = (unadopted.name.display(), failed.donor.display());
            session.warn(format!(
                "bundle {name} was read, because it could not be taken from {donor}: {}",
                failed.error
            ));
            bundle = Some(unadopted);
        }
        if let Some((bundle, reader)) = bundle.zip(files.reader(number)) {
            unpack(session, number, &bundle, reader)?;
        }
    }
    session.publish(&runtime)
}

/// Unpacks a bundle while another thread reads its file.
fn unpack(
    session: &mut StagingSession,
    number: usize,
    bundle: &IncomingBundle,
    reader: &mut Reader,
) -> Result<()> {
    let (to, chunks) = mpsc::sync_channel(WAITING);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || -> Result<()> {
            while let Some(chunk) = reader.read_chunk(CHUNK_BYTES)? {
                // The receiver is dropped early only after unpacking has failed. Then the error of unpacking is
                // reported.
                if to.send(chunk).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let unpacked = session.unpack(number, bundle, chunks);
        let read = reading.join().unwrap_or(Ok(()));
        // If reading failed, unpacking failed too, with an error that says only that the stream ended. So the error of
        // reading is returned.
        read.and(unpacked)
    })
}
