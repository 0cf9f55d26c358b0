//! Stages on this node from bundles that it reads itself, without MPI.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

use crate::bundle::{Named, Reader};
use crate::error::{Error, Result};
use crate::instrument::timeline;
use crate::manifest::prefix::PrefixRecord;
use crate::stage::reuse::adopt::Adoption;
use crate::stage::reuse::divergence;
use crate::stage::{BuildOptions, Identity, Place, Runtime, Stage, StageBuild, StageId};

/// Bytes that are read at once: no more than the allocator has again when they are freed, since fresh memory costs a page
/// fault each 4 kB ([`crate::process::memory_policy`]).
pub const CHUNK_BYTES: usize = 1 << 20;

/// A stage, and what it took to make it.
#[derive(Debug)]
pub struct Staged {
    /// The stage.
    pub stage: Stage,
    /// It was there already.
    pub reused: bool,
    /// Bytes of the bundles that were read; 0 when the stage was already there.
    pub bundle_bytes: u64,
    /// Bytes that the files take.
    pub unpacked_bytes: u64,
    /// Of them, bytes that other stages had already.
    pub adopted_bytes: u64,
    /// These stages.
    pub adopted_from: Vec<PathBuf>,
    /// Paths that have changed since the bundles were packed, where the stage was there; they are not answered from it.
    pub changed: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// What people should know of the bundles.
    pub warnings: Vec<String>,
}

/// Makes the stage `id` of `bundles`, or returns it when it is there already; `None` when `options` want none of
/// the bundles. What no one uses any more is removed first.
///
/// # Errors
/// As [`StageBuild::unpack`] and [`Reader::open`]; nothing is left behind.
pub fn stage_here(
    place: &Place,
    id: &StageId,
    bundles: &[Named],
    mut options: BuildOptions,
) -> Result<Option<Staged>> {
    let begun = Instant::now();
    timeline::begin();
    if let Some(stage) = Stage::find(place, id)?.filter(|stage| !stage.is_hollow()) {
        // Held meanwhile: its last user may be about to remove it.
        let _lease = stage.lease()?;
        let mut changed = 0;
        if !options.fresh {
            let changes = divergence::compare_with_sources(&stage)?;
            changes.marks.apply(&stage)?;
            changed = changes.paths;
        }
        return Ok(Some(Staged {
            stage,
            reused: true,
            bundle_bytes: 0,
            unpacked_bytes: 0,
            adopted_bytes: 0,
            adopted_from: Vec::new(),
            changed,
            seconds: begun.elapsed().as_secs_f64(),
            warnings: Vec::new(),
        }));
    }
    options.identities = bundles.iter().map(Identity::of).collect::<Result<_>>()?;
    let identities = options.identities.clone();
    let fresh = options.fresh;
    // What it holds is no garbage until the new stage is there.
    let mut adoption = Adoption::find(place, &options);
    crate::stage::collect_garbage(place, &identities)?;
    let mut readers: Vec<Option<Reader>> = bundles.iter().map(|_| None).collect();
    let mut build = None;
    loop {
        for (number, reader) in readers.iter_mut().enumerate() {
            if adoption.needs(number) && reader.is_none() {
                *reader = Some(Reader::open(&bundles[number])?);
            }
        }
        let prefixes: Vec<&[PrefixRecord]> = (readers.iter().enumerate())
            .map(|(number, r)| {
                r.as_ref().map_or_else(|| adoption.prefixes(number), Reader::prefixes)
            })
            .collect();
        let wanted = options.wanted(&prefixes);
        for (reader, wanted) in readers.iter_mut().zip(wanted) {
            reader.take_if(|_| !wanted);
        }
        if adoption.is_empty() && readers.iter().all(Option::is_none) {
            return Ok(None);
        }
        let build = match &mut build {
            Some(build) => build,
            none => none.insert(StageBuild::begin(place, id, options.clone())?),
        };
        let read = readers.iter().flatten().map(Reader::size);
        match build.expect(read.chain([adoption.size()]).sum()) {
            Err(Error::NoSpace { .. }) if !adoption.is_empty() => {
                // Without the old stage beside it there may be room.
                adoption.give_up();
                crate::stage::collect_garbage(place, &identities)?;
            }
            checked => break checked?,
        }
    }
    let Some(mut build) = build else { return Ok(None) };
    let runtime = Runtime::read()?;
    let (mut bundle_bytes, mut unpacked_bytes, mut warnings) = (0, 0, Vec::new());
    let (mut adopted_bytes, mut adopted_from) = (0, Vec::new());
    for (number, reader) in readers.iter_mut().enumerate() {
        if let Some(bundle) = adoption.take(number) {
            let from = bundle.from().to_path_buf();
            match build.adopt(number, bundle) {
                Ok(adopted) => {
                    adopted_from.push(from);
                    adopted_bytes += adopted.unpacked_bytes;
                    unpacked_bytes += adopted.unpacked_bytes;
                    continue;
                }
                Err(error @ Error::CannotWrite { .. }) => {
                    let opened = Reader::open(&bundles[number])?;
                    build.expect_more(opened.size())?;
                    let (path, from) = (opened.path().display(), from.display());
                    warnings.push(format!(
                        "bundle {path} was read, as it could not be taken from {from}: {error}"
                    ));
                    *reader = Some(opened);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(reader) = reader else { continue };
        let unpacked = feed(&mut build, number, reader)?;
        bundle_bytes += unpacked.bundle_bytes;
        unpacked_bytes += unpacked.unpacked_bytes;
        warnings.extend(unpacked.warning);
    }
    build.inherit(adoption);
    let stage = build.publish(&runtime)?;
    let mut changed = 0;
    if !adopted_from.is_empty() {
        // A stage that nobody finds any more is no reason to fail.
        let _ = crate::stage::collect_garbage(place, &identities);
        if !fresh {
            let changes = divergence::compare_with_sources(&stage)?;
            changes.marks.apply(&stage)?;
            changed = changes.paths;
        }
        adopted_from.sort();
        adopted_from.dedup();
    }
    Ok(Some(Staged {
        stage,
        reused: false,
        bundle_bytes,
        unpacked_bytes,
        adopted_bytes,
        adopted_from,
        changed,
        seconds: begun.elapsed().as_secs_f64(),
        warnings,
    }))
}

/// Reads a bundle in one thread while the calling one unpacks it.
fn feed(
    build: &mut StageBuild,
    number: usize,
    reader: &mut Reader,
) -> Result<crate::stage::Unpacked> {
    let (to, chunks) = mpsc::sync_channel(8);
    let (name, length): (PathBuf, u64) = (Path::to_path_buf(reader.path()), reader.len());
    let archive = reader.archive().cloned();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || -> Result<()> {
            while let Some(chunk) = reader.read_chunk(CHUNK_BYTES)? {
                // The other end is only dropped after an error, which is the one to report.
                if to.send(chunk).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let unpacked = build.unpack(number, &name, archive.as_ref(), length, chunks);
        let read = reading.join().unwrap_or(Ok(()));
        // Where reading failed, the unpacking only saw its stream end.
        read.and(unpacked)
    })
}
