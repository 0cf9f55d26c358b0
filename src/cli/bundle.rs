//! `pyshm bundle` and `pyshm inspect`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::print_json;
use crate::archive::walk::Digests;
use crate::bundle::manifest::EntryKind;
use crate::bundle::{Content, Manifest, Mode, Named, PackOptions, PrefixSpec, Reader, pack};
use crate::error::{Error, Result};
use crate::run::cleanup;
use crate::{progress, python};

/// Kinds of prefixes.
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Pack a Python environment: a conda environment, a venv with its base interpreter, or any other prefix
    Env(Env),
}

/// `pyshm bundle env`
#[derive(Debug, Args)]
pub struct Env {
    /// The environment's directory (sys.prefix)
    prefix: PathBuf,
    /// The bundle to write; its ending says how: .tar.zst or .tar.gz
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
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
        cleanup::on_signals(&[SIGINT, SIGTERM, SIGHUP])?;
        let mut prefixes = vec![PrefixSpec { path: self.prefix.clone(), mode }];
        if let Some(base) = python::base_of(&self.prefix)? {
            prefixes.push(PrefixSpec { path: base, mode });
        }
        let report =
            pack(&prefixes, &self.output, &PackOptions { level: self.level, quiet: self.quiet })?;
        if self.json {
            let value = json!({
                "bundle": self.output, "prefixes": prefixes_of(&report.manifest), "entries": report.entries,
                "raw_bytes": report.raw_bytes, "bundle_bytes": report.bundle_bytes, "seconds": report.seconds,
            });
            print_json(&value)?;
        } else if !self.quiet {
            print_line!(
                "{}: {} paths, {} packed into {} in {:.1} s",
                self.output.display(),
                report.entries,
                progress::bytes(report.raw_bytes),
                progress::bytes(report.bundle_bytes),
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
    /// List every path as well
    #[arg(long)]
    entries: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<()> {
        let reader =
            Reader::open(&Named { path: self.bundle.clone(), prefix: self.prefix.clone() })?;
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
        let files = count(|k| matches!(k, EntryKind::File { .. } | EntryKind::HardLink(_)));
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
        print_line!("  size         {}{frames}", progress::bytes(length));
        print_line!("  unpacked     {}", progress::bytes(manifest.unpacked_bytes()));
        if self.entries {
            for entry in &manifest.entries {
                print_line!(
                    "{:06o} {:>12} {}",
                    entry.stat.mode,
                    entry.stat.size,
                    crate::archive::shown(&entry.path)
                );
            }
        }
        Ok(())
    }
}

fn prefixes_of(manifest: &Manifest) -> Vec<serde_json::Value> {
    let shown = |p: &crate::bundle::manifest::PrefixRecord| {
        let aliases: Vec<_> = p.spellings().skip(1).map(|a| a.display().to_string()).collect();
        json!({ "path": p.path().display().to_string(), "aliases": aliases, "mode": p.mode })
    };
    manifest.prefixes.iter().map(shown).collect()
}

fn entry_json(entry: &crate::bundle::manifest::EntryRecord) -> serde_json::Value {
    let (kind, target, digest) = match &entry.kind {
        EntryKind::Directory => ("directory", None, None),
        EntryKind::File { digest, .. } => {
            ("file", None, Some(blake3::Hash::from_bytes(*digest).to_hex().to_string()))
        }
        EntryKind::Remote => ("remote", None, None),
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
