//! Packs prefixes into a bundle: reads the files once and compresses frames on all cores.
//!
//! The manifest stands before the frames and contains their digests, which are known only at the end. So the frames go
//! to a temporary file beside the output, and are appended to the manifest last.
//!
//! Invariants: the output's name appears only when the bundle is complete. A bundle shows its prefix at one moment:
//! packing fails when a file or directory changes meanwhile. Files are read only after [`settle`] has waited: from then
//! on, every change of a file also changes the file's recorded times.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::bundle::error::changed_while_packed;
use crate::bundle::frame_writer::write_frames;
use crate::bundle::pack_layer::{Inclusion, LowerBundles, PackedPath};
use crate::bundle::settle;
use crate::bundle::unfinished::UnfinishedBundle;
use crate::error::{Error, Result};
use crate::manifest::frame::Codec;
use crate::manifest::layer::Layer;
use crate::manifest::prefix::{Mode, PrefixRecord, aliases_of, bytes_of};
use crate::manifest::walk::WalkEntry;
use crate::manifest::{Manifest, first_change, walk};
use crate::progress::Progress;

/// A directory to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixSpec {
    /// The directory, spelled as the user likes.
    pub path: PathBuf,
    /// How a path below the directory is answered if the bundle does not have the path.
    pub mode: Mode,
}

/// How to pack.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// Compression level of the codec; `None` takes the codec's default.
    pub level: Option<i32>,
    /// Whether a bar shows the progress.
    pub progress: Progress,
}

/// What was packed.
#[derive(Debug)]
pub struct PackReport {
    /// Number of paths.
    pub entries: usize,
    /// Bytes of the files.
    pub raw_bytes: u64,
    /// Bytes of the bundle.
    pub bundle_bytes: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// The bundle's manifest.
    pub manifest: Manifest,
}

/// Packs `prefixes` into the file `output`, whose ending decides the compression (`.tar.zst` or `.tar.gz`).
///
/// # Errors
/// [`Error::NoInput`] when a prefix cannot be read, [`Error::TryAgain`] when a prefix changes meanwhile,
/// [`Error::CannotWrite`] when the output cannot be written, [`Error::Usage`] when `output` has another ending.
pub fn pack(prefixes: &[PrefixSpec], output: &Path, options: &PackOptions) -> Result<PackReport> {
    pack_over(prefixes, &[], output, options)
}

/// Packs a layer: only the changes since the bundles `over` were packed. The lowest of these bundles comes first. If
/// `over` is empty, packs a whole bundle.
///
/// # Errors
/// As [`pack`]; [`Error::Usage`] when a prefix lies in no prefix of `over`.
pub fn pack_over(
    prefixes: &[PrefixSpec],
    over: &[PathBuf],
    output: &Path,
    options: &PackOptions,
) -> Result<PackReport> {
    let begun = Instant::now();
    let codec = codec_of(output)?;
    let level = level_of(options, codec, output)?;
    let mut prefixes = resolve(prefixes)?;
    let lower = (!over.is_empty()).then(|| LowerBundles::open(over)).transpose()?;
    if let Some(lower) = &lower {
        lower.inherit_modes(&mut prefixes)?;
    }
    let found = prefixes.iter().flat_map(|p| walk::walk(p.path())).collect::<Result<Vec<_>>>()?;
    // The wait must come before the first file is read. `select` reads files too.
    settle::wait_for_next_tick(&found, Instant::now());
    let (paths, layer) = select(&prefixes, &found, lower.as_ref());
    let has_data =
        |(path, inclusion): &&PackedPath<'_>| path.kind.is_file() && *inclusion == Inclusion::Whole;
    let raw_bytes = paths.iter().filter(has_data).map(|(path, _)| path.stat.size).sum();

    let unfinished = UnfinishedBundle::beside(output)?;
    let bar = options.progress.byte_bar("packing", raw_bytes);
    let (recorded, frames) = write_frames(&paths, &unfinished.frames, codec, level, &bar)?;
    bar.finish_and_clear();

    let manifest = Manifest {
        tool: concat!("pyshm ", env!("CARGO_PKG_VERSION")).to_string(),
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        codec,
        prefixes,
        entries: recorded.entries,
        frames,
        xattrs: Some(recorded.xattrs),
        layer,
        digest: [0; 32],
    };
    let changed = match &manifest.layer {
        None => manifest.first_change()?,
        Some(_) => {
            let walked = found.iter().map(|f| (f.path.as_path(), &f.stat)).collect();
            first_change(&manifest.prefixes, walked)?
        }
    };
    if let Some(path) = changed {
        return Err(changed_while_packed(&path));
    }
    let bundle_bytes = unfinished.assemble(&manifest, level, output)?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(PackReport { entries: manifest.entries.len(), raw_bytes, bundle_bytes, seconds, manifest })
}

fn codec_of(output: &Path) -> Result<Codec> {
    let name = output.file_name().unwrap_or_default().as_bytes();
    match name {
        _ if name.ends_with(b".tar.zst") => Ok(Codec::Zstd),
        _ if name.ends_with(b".tar.gz") || name.ends_with(b".tgz") => Ok(Codec::Gzip),
        _ => Err(Error::Usage(format!(
            "failed to choose a compression: {} ends neither in .tar.zst nor in .tar.gz",
            output.display()
        ))),
    }
}

fn level_of(options: &PackOptions, codec: Codec, output: &Path) -> Result<i32> {
    let level = options.level.unwrap_or(codec.default_level());
    if codec.levels().contains(&level) {
        return Ok(level);
    }
    Err(Error::Usage(format!(
        "failed to use compression level {level}: for {} the levels are {} to {}",
        output.display(),
        codec.levels().start(),
        codec.levels().end()
    )))
}

/// Selects the paths of the bundle from `found`. A whole bundle gets all of them; a layer gets the paths that changed
/// since the bundles `lower` were packed.
fn select<'a>(
    prefixes: &[PrefixRecord],
    found: &'a [WalkEntry],
    lower: Option<&LowerBundles>,
) -> (Vec<PackedPath<'a>>, Option<Layer>) {
    let Some(lower) = lower else {
        return (found.iter().map(|path| (path, Inclusion::Whole)).collect(), None);
    };
    let (inclusions, mut layer) = lower.compare(prefixes, found);
    let paths = found.iter().zip(inclusions);
    let paths: Vec<PackedPath<'_>> =
        paths.filter(|(_, inclusion)| *inclusion != Inclusion::Omitted).collect();
    let numbered = paths.iter().enumerate();
    let implied = numbered.filter(|(_, (_, inclusion))| *inclusion == Inclusion::Implied);
    layer.implied = implied.map(|(number, _)| number as u32).collect();
    (paths, Some(layer))
}

/// Resolves directories to their real paths, with the user's spellings as aliases. Drops each directory that lies in
/// another of these directories.
fn resolve(specs: &[PrefixSpec]) -> Result<Vec<PrefixRecord>> {
    let mut records: Vec<PrefixRecord> = Vec::new();
    for spec in specs {
        let failed = || Error::read("prefix", &spec.path);
        let spelled = std::path::absolute(&spec.path).map_err(failed())?;
        let real = std::fs::canonicalize(&spec.path).map_err(failed())?;
        if !real.is_dir() {
            return Err(failed()(io::ErrorKind::NotADirectory.into()));
        }
        if real == Path::new("/") {
            return Err(Error::Usage(
                "failed to use / as a prefix: name an environment's directory".into(),
            ));
        }
        let aliases = aliases_of(&spelled, &real);
        match records.iter_mut().find(|r| real.starts_with(r.path())) {
            Some(outer) if outer.path() == real => outer.aliases.extend(aliases),
            Some(_) => {}
            None => {
                records.retain(|r| !r.path().starts_with(&real));
                records.push(PrefixRecord { path: bytes_of(&real), aliases, mode: spec.mode });
            }
        }
    }
    Ok(records)
}
