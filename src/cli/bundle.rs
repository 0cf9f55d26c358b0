//! Implements `pyshm bundle`, which packs a prefix, and `pyshm inspect`, which shows what a bundle holds.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::archive::Compression;
use crate::archive::walk::DigestSink;
use crate::bundle::{Content, Named, PackOptions, PrefixSpec, Reader, pack_over};
use crate::cli::json::print_json;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::layer::Layer;
use crate::manifest::prefix::{Mode, PrefixRecord};
use crate::process::signals;
use crate::program::python;
use crate::progress::Progress;
use crate::text;

/// `pyshm bundle`
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Pack a Python environment: a conda environment, a venv with its base interpreter, or any other prefix
    Env(Env),
}

const AFTER_HELP: &str = "\
Examples:
  pyshm bundle env ~/envs/science -o science.tar.zst     everything
  pip install …                                          then a layer: only what changed, for all later jobs
  pyshm bundle env ~/envs/science --over science.tar.zst -o more.tar.zst
  pyshm-run -b science.tar.zst -b more.tar.zst mpiexec -n 64 python app.py";

/// `pyshm bundle env`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Env {
    /// The environment's directory (sys.prefix)
    prefix: PathBuf,
    /// The bundle to write; the ending of FILE decides the compression: .tar.zst or .tar.gz
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Pack a layer: only what changed since FILE was packed. Jobs name FILE before the layer. May be given several
    /// times, the lowest bundle first
    #[arg(long, value_name = "FILE", conflicts_with = "mode")]
    over: Vec<PathBuf>,
    /// Compression level (zstd: 1 to 22, default 3; gzip: 0 to 9, default 6)
    #[arg(long, value_name = "N")]
    level: Option<i32>,
    /// What a job finds at a path that is not in the bundle
    #[arg(long, value_enum, default_value_t = ModeName::Snapshot)]
    mode: ModeName,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    /// Nothing: the path does not exist
    Snapshot,
    /// What the shared file system has there
    Overlay,
}

impl BundleCommand {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Env(env) => env.run(),
        }
    }
}

impl Env {
    fn run(self) -> Result<()> {
        let mode = match self.mode {
            ModeName::Snapshot => Mode::Snapshot,
            ModeName::Overlay => Mode::Overlay,
        };
        if !self.prefix.is_dir() {
            let missing = std::fs::read_dir(&self.prefix)
                .err()
                .unwrap_or(std::io::ErrorKind::NotADirectory.into());
            return Err(Error::read("prefix", &self.prefix)(missing));
        }
        signals::end_on(&[SIGINT, SIGTERM, SIGHUP])?;
        let mut prefixes = vec![PrefixSpec { path: self.prefix.clone(), mode }];
        if let Some(base) = python::base_of(&self.prefix)? {
            prefixes.push(PrefixSpec { path: base, mode });
        }
        let progress = Progress::unless(self.quiet);
        let options = PackOptions { level: self.level, progress };
        let report = pack_over(&prefixes, &self.over, &self.output, &options)?;
        if self.json {
            return print_json(&json!({
                "bundle": self.output, "prefixes": prefixes_json(&report.manifest), "entries": report.entries,
                "layer": report.manifest.layer.as_ref().map(layer_json), "raw_bytes": report.raw_bytes,
                "bundle_bytes": report.bundle_bytes, "seconds": report.seconds,
            }));
        }
        if !self.quiet {
            let removed = report.manifest.layer.as_ref().map_or(0, |layer| layer.removed.len());
            print_line!(
                "{}: {} paths{}, {} packed into {} in {:.1} s",
                self.output.display(),
                report.entries,
                if removed > 0 { format!(", {removed} removed") } else { String::new() },
                text::bytes(report.raw_bytes),
                text::bytes(report.bundle_bytes),
                report.seconds
            );
        }
        Ok(())
    }
}

/// `pyshm inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// The bundle
    bundle: PathBuf,
    /// Where the members of a tar that pyshm did not make belong
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// The tar is a layer of a container image, or made like one
    #[arg(long, requires = "prefix")]
    layer: bool,
    /// List every path as well
    #[arg(long)]
    entries: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `pyshm inspect` shows of a bundle.
struct Inspected {
    manifest: Manifest,
    /// Bytes of the file.
    length: u64,
    /// How a foreign tar is compressed; `None` for a bundle that pyshm made.
    foreign: Option<Compression>,
}

impl Inspect {
    pub(super) fn run(self) -> Result<()> {
        let inspected = self.read()?;
        if self.json {
            return print_json(&self.to_json(&inspected));
        }
        self.print(&inspected);
        if self.entries {
            print_entries(&inspected.manifest);
        }
        Ok(())
    }

    fn read(&self) -> Result<Inspected> {
        let reader = Reader::open(&Named {
            path: self.bundle.clone(),
            prefix: self.prefix.clone(),
            layer: self.layer,
        })?;
        let length = reader.len();
        let foreign = reader.archive().map(|archive| archive.compression);
        let manifest = match reader.content() {
            Content::Bundle(manifest) => manifest.clone(),
            Content::Archive(_) => {
                let bar = Progress::Shown.byte_bar("reading", 0);
                let (manifest, warning) = reader.survey(&mut DigestSink::new(bar.clone()))?;
                bar.finish_and_clear();
                if let Some(warning) = warning {
                    warn_line!("pyshm: warning: bundle {}: {warning}", self.bundle.display());
                }
                manifest
            }
        };
        Ok(Inspected { manifest, length, foreign })
    }

    fn to_json(&self, inspected: &Inspected) -> Value {
        let Inspected { manifest, length, foreign } = inspected;
        let compression = foreign.map_or_else(|| json!(manifest.codec), |c| json!(c));
        let counts = Counts::of(manifest);
        let mut value = json!({
            "bundle": self.bundle, "tool": manifest.tool, "created": manifest.created,
            "compression": compression, "prefixes": prefixes_json(manifest), "files": counts.files,
            "directories": counts.directories, "symlinks": counts.symlinks,
            "not_bundled": counts.not_bundled, "bundle_bytes": length,
            "unpacked_bytes": manifest.unpacked_bytes(), "frames": manifest.frames.len(),
        });
        if let Some(layer) = &manifest.layer {
            value["layer"] = layer_json(layer);
        }
        if self.entries {
            value["entries"] = manifest.entries.iter().map(entry_json).collect();
        }
        value
    }

    fn print(&self, inspected: &Inspected) {
        let Inspected { manifest, length, foreign } = inspected;
        let counts = Counts::of(manifest);
        print_line!("{}: made by {}", self.bundle.display(), manifest.tool);
        for prefix in &manifest.prefixes {
            print_line!("  prefix       {} ({:?})", prefix.path().display(), prefix.mode);
        }
        if let Some(layer) = &manifest.layer {
            print_line!("  a layer over {}", layer.names());
            print_line!("  removed      {}", layer.removed.len() + layer.opaque.len());
            print_line!(
                "  data below   {} (only their attributes changed)",
                counts.attributes_only
            );
        }
        print_line!("  files        {}", counts.files);
        print_line!("  directories  {}", counts.directories);
        print_line!("  symlinks     {}", counts.symlinks);
        if counts.not_bundled > 0 {
            print_line!(
                "  not bundled  {} (they stay on the shared file system)",
                counts.not_bundled
            );
        }
        let frames = match foreign {
            Some(_) => String::new(),
            None => format!(" in {} frames", manifest.frames.len()),
        };
        print_line!("  size         {}{frames}", text::bytes(*length));
        print_line!("  unpacked     {}", text::bytes(manifest.unpacked_bytes()));
    }
}

/// Numbers of entries by kind.
#[derive(Default)]
struct Counts {
    files: usize,
    /// The regular files whose data is in the bundles below.
    attributes_only: usize,
    directories: usize,
    symlinks: usize,
    not_bundled: usize,
}

impl Counts {
    fn of(manifest: &Manifest) -> Self {
        let mut counts = Self::default();
        for entry in &manifest.entries {
            match entry.kind {
                EntryKind::File { .. } | EntryKind::HardLink(_) => counts.files += 1,
                EntryKind::Below => {
                    counts.files += 1;
                    counts.attributes_only += 1;
                }
                EntryKind::Directory => counts.directories += 1,
                EntryKind::Symlink(_) => counts.symlinks += 1,
                EntryKind::Remote | EntryKind::Other => counts.not_bundled += 1,
            }
        }
        counts
    }
}

fn print_entries(manifest: &Manifest) {
    for entry in &manifest.entries {
        let path = text::shown(&entry.path);
        print_line!("{:06o} {:>12} {path}", entry.stat.mode, entry.stat.size);
    }
    let layer = manifest.layer.as_ref();
    for path in layer.iter().flat_map(|l| &l.removed) {
        print_line!("removed             {}", text::shown(path));
    }
    for path in layer.iter().flat_map(|l| &l.opaque) {
        print_line!("removed             {}/*", text::shown(path));
    }
}

fn layer_json(layer: &Layer) -> Value {
    let hex = |digest: &[u8; 32]| blake3::Hash::from_bytes(*digest).to_hex().to_string();
    let over: Vec<_> = (layer.over.iter())
        .map(|over| json!({ "name": over.name, "manifest": hex(&over.digest) }))
        .collect();
    let shown = |paths: &[serde_bytes::ByteBuf]| -> Vec<String> {
        paths.iter().map(|path| text::shown(path)).collect()
    };
    json!({ "over": over, "removed": shown(&layer.removed), "emptied": shown(&layer.opaque) })
}

fn prefixes_json(manifest: &Manifest) -> Vec<Value> {
    let shown = |p: &PrefixRecord| {
        let aliases: Vec<_> = p.spellings().skip(1).map(|a| a.display().to_string()).collect();
        json!({ "path": p.path().display().to_string(), "aliases": aliases, "mode": p.mode })
    };
    manifest.prefixes.iter().map(shown).collect()
}

fn entry_json(entry: &EntryRecord) -> Value {
    let (kind, target, digest) = match &entry.kind {
        EntryKind::Directory => ("directory", None, None),
        EntryKind::File { digest, .. } => {
            ("file", None, Some(blake3::Hash::from_bytes(*digest).to_hex().to_string()))
        }
        EntryKind::Remote => ("remote", None, None),
        EntryKind::Below => ("attributes", None, None),
        EntryKind::HardLink(_) => ("hard link", None, None),
        EntryKind::Symlink(target) => {
            ("symlink", Some(String::from_utf8_lossy(target).into_owned()), None)
        }
        EntryKind::Other => ("other", None, None),
    };
    json!({
        "path": entry.path().display().to_string(), "kind": kind, "target": target, "blake3": digest,
        "mode": entry.stat.mode, "size": entry.stat.size, "inode": entry.stat.ino,
        "mtime": entry.stat.mtime.0, "mtime_nsec": entry.stat.mtime.1,
    })
}
