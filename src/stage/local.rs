//! Stages on this node from bundles that it reads itself, without MPI.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

use super::{
    BuildOptions, Identity, Place, Runtime, Stage, StageBuild, StageId, divergence, timeline,
};
use crate::bundle::{Named, Reader};
use crate::error::Result;

/// Bytes that are read at once.
pub const CHUNK_BYTES: usize = 8 << 20;

/// A stage, and what it took to make it.
#[derive(Debug)]
pub struct Staged {
    /// The stage.
    pub stage: Stage,
    /// Bytes of the bundles that were read; 0 when the stage was already there.
    pub bundle_bytes: u64,
    /// Bytes that the files take.
    pub unpacked_bytes: u64,
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
            bundle_bytes: 0,
            unpacked_bytes: 0,
            changed,
            seconds: begun.elapsed().as_secs_f64(),
            warnings: Vec::new(),
        }));
    }
    options.identities = bundles.iter().map(|b| Identity::of(&b.path)).collect::<Result<_>>()?;
    super::collect_garbage(place, &options.identities)?;
    let mut readers = bundles.iter().map(Reader::open).collect::<Result<Vec<_>>>()?;
    readers.retain(|reader| options.wants(reader.prefixes()));
    if readers.is_empty() {
        return Ok(None);
    }
    let runtime = Runtime::read()?;
    let mut build = StageBuild::begin(place, id, options)?;
    build.expect(readers.iter().map(Reader::size).sum())?;
    let (mut bundle_bytes, mut unpacked_bytes, mut warnings) = (0, 0, Vec::new());
    for reader in &mut readers {
        let unpacked = feed(&mut build, reader)?;
        bundle_bytes += unpacked.bundle_bytes;
        unpacked_bytes += unpacked.unpacked_bytes;
        warnings.extend(unpacked.warning);
    }
    let stage = build.publish(&runtime)?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Some(Staged { stage, bundle_bytes, unpacked_bytes, changed: 0, seconds, warnings }))
}

/// Reads a bundle in one thread while the calling one unpacks it.
fn feed(build: &mut StageBuild, reader: &mut Reader) -> Result<super::Unpacked> {
    let (to, chunks) = mpsc::sync_channel(1);
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
        let unpacked = build.unpack(&name, archive.as_ref(), length, chunks);
        let read = reading.join().unwrap_or(Ok(()));
        // Where reading failed, the unpacking only saw its stream end.
        read.and(unpacked)
    })
}
