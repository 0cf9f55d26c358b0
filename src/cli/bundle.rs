//! `pyshm bundle` and `pyshm inspect`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::archive::walk::Digests;
use crate::bundle::{Content, Named, PackOptions, PrefixSpec, Reader, pack_over};
use crate::cli::print_json;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::manifest::entry::EntryKind;
use crate::manifest::layer::Layer;
use crate::manifest::prefix::Mode;
use crate::process::signals;
use crate::program::python;
use crate::{progress, text};

/// Kinds of prefixes.
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Pack a Python environment: a conda environment, a venv with its base interpreter, or any other prefix
    Env(Env),
}

const AFTER_HELP: &str = "\
Examples:
  pyshm bundle env ~/envs/science -o science.tar.zst     all of it
  pip install …                                          then only what that has changed, for all later jobs:
  pyshm bundle env ~/envs/science --over science.tar.zst -o more.tar.zst
  pyshm-run -b science.tar.zst -b more.tar.zst mpiexec -n 64 python app.py";

/// `pyshm bundle env`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Env {
    /// The environment's directory (sys.prefix)
    prefix: PathBuf,
    /// The bundle to write; its ending says how: .tar.zst or .tar.gz
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Pack a layer: only what changed since this bundle, which is then named before it; may be given several times, the
    /// lowest first
    #[arg(long, value_name = "FILE", conflicts_with = "mode")]
    over: Vec<PathBuf>,
    /// Compression level (zstd: 1 to 22, 3 unless given; gzip: 0 to 9, 6)
    #[arg(long, value_name = "N")]
    level: Option<i32>,
    /// What a path that is not in the bundle means to a job
    #[arg(long, value_enum, default_value_t = ModeName::Snapshot)]
    mode: ModeName,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// Print the closing line as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    /// It does not exist
    Snapshot,
    /// It may exist on the shared file system
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
        let options = PackOptions { level: self.level, quiet: self.quiet };
        let report = pack_over(&prefixes, &self.over, &self.output, &options)?;
        if self.json {
            let value = json!({
                "bundle": self.output, "prefixes": prefixes_of(&report.manifest), "entries": report.entries,
                "layer": report.manifest.layer.as_ref().map(layer_json), "raw_bytes": report.raw_bytes, "bundle_bytes": report.bundle_bytes, "seconds": report.seconds,
            });
            print_json(&value)?;
        } else if !self.quiet {
            let gone = report.manifest.layer.as_ref().map_or(0, |layer| layer.gone.len());
            print_line!(
                "{}: {} paths{}, {} packed into {} in {:.1} s",
                self.output.display(),
                report.entries,
                if gone > 0 { format!(", {gone} removed") } else { String::new() },
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
    /// Where the members of a tar belong that pyshm did not make
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// It is a layer of a container image, or made like one
    #[arg(long, requires = "prefix")]
    layer: bool,
    /// List every path as well
    #[arg(long)]
    entries: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<()> {
        let reader = Reader::open(&Named {
            path: self.bundle.clone(),
            prefix: self.prefix.clone(),
            layer: self.layer,
        })?;
        let length = reader.len();
        let compression = reader.archive().map(|archive| archive.compression);
        let manifest = match reader.content() {
            Content::Bundle(manifest) => manifest.clone(),
            Content::Archive(_) => {
                let bar = progress::byte_bar("reading", 0);
                let (manifest, warning) = reader.survey(&mut Digests::new(bar.clone()))?;
                bar.finish_and_clear();
                if let Some(warning) = warning {
                    warn_line!("pyshm: warning: bundle {}: {warning}", self.bundle.display());
                }
                manifest
            }
        };
        let manifest = &manifest;
        let count = |what: fn(&EntryKind) -> bool| {
            manifest.entries.iter().filter(|e| what(&e.kind)).count()
        };
        let files = count(|k| {
            matches!(k, EntryKind::File { .. } | EntryKind::HardLink(_) | EntryKind::Below)
        });
        let directories = count(|k| matches!(k, EntryKind::Directory));
        let links = count(|k| matches!(k, EntryKind::Symlink(_)));
        let remote = count(|k| matches!(k, EntryKind::Remote | EntryKind::Other));
        let prefixes = prefixes_of(manifest);
        if self.json {
            let mut value = json!({
                "bundle": self.bundle, "tool": manifest.tool, "created": manifest.created,
                "compression": compression.map_or_else(|| json!(manifest.codec), |c| json!(c)), "prefixes": prefixes, "files": files, "directories": directories,
                "symlinks": links, "not_bundled": remote, "bundle_bytes": length,
                "unpacked_bytes": manifest.unpacked_bytes(), "frames": manifest.frames.len(),
            });
            if let Some(layer) = &manifest.layer {
                value["layer"] = layer_json(layer);
            }
            if self.entries {
                value["entries"] = manifest.entries.iter().map(entry_json).collect();
            }
            return print_json(&value);
        }
        print_line!("{}: made by {}", self.bundle.display(), manifest.tool);
        for (record, shown) in manifest.prefixes.iter().zip(&prefixes) {
            print_line!(
                "  prefix       {} ({:?})",
                shown["path"].as_str().unwrap_or_default(),
                record.mode
            );
        }
        if let Some(layer) = &manifest.layer {
            print_line!("  a layer over {}", layer.names());
            let kept = count(|k| matches!(k, EntryKind::Below));
            print_line!("  removed      {}", layer.gone.len() + layer.opaque.len());
            print_line!("  data below   {kept} (only their attributes changed)");
        }
        print_line!("  files        {files}");
        print_line!("  directories  {directories}");
        print_line!("  symlinks     {links}");
        if remote > 0 {
            print_line!("  not bundled  {remote} (they stay on the shared file system)");
        }
        let frames = match compression {
            Some(_) => String::new(),
            None => format!(" in {} frames", manifest.frames.len()),
        };
        print_line!("  size         {}{frames}", text::bytes(length));
        print_line!("  unpacked     {}", text::bytes(manifest.unpacked_bytes()));
        if self.entries {
            for entry in &manifest.entries {
                print_line!(
                    "{:06o} {:>12} {}",
                    entry.stat.mode,
                    entry.stat.size,
                    crate::text::shown(&entry.path)
                );
            }
            let layer = manifest.layer.as_ref();
            for path in layer.iter().flat_map(|l| &l.gone) {
                print_line!("removed             {}", crate::text::shown(path));
            }
            for path in layer.iter().flat_map(|l| &l.opaque) {
                print_line!("removed             {}/*", crate::text::shown(path));
            }
        }
        Ok(())
    }
}

fn layer_json(layer: &Layer) -> serde_json::Value {
    let hex = |digest: &[u8; 32]| blake3::Hash::from_bytes(*digest).to_hex().to_string();
    let over: Vec<_> = (layer.over.iter())
        .map(|over| json!({ "name": over.name, "manifest": hex(&over.digest) }))
        .collect();
    let shown = |paths: &[serde_bytes::ByteBuf]| -> Vec<String> {
        paths.iter().map(|path| crate::text::shown(path)).collect()
    };
    json!({ "over": over, "removed": shown(&layer.gone), "emptied": shown(&layer.opaque) })
}

fn prefixes_of(manifest: &Manifest) -> Vec<serde_json::Value> {
    let shown = |p: &crate::manifest::prefix::PrefixRecord| {
        let aliases: Vec<_> = p.spellings().skip(1).map(|a| a.display().to_string()).collect();
        json!({ "path": p.path().display().to_string(), "aliases": aliases, "mode": p.mode })
    };
    manifest.prefixes.iter().map(shown).collect()
}

fn entry_json(entry: &crate::manifest::entry::EntryRecord) -> serde_json::Value {
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
