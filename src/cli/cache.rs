//! Implements `pyshm cache`, which lists and prunes the bundles that `pyshm-run` packed automatically.
#![forbid(unsafe_code)]

use clap::{Args, Subcommand};

use crate::cache::{EntryInfo, PruneOptions};
use crate::cli::json::print_json;
use crate::error::Result;
use crate::{cache, text};

/// `pyshm cache`
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List the bundles in the cache, the least recently used first
    List(List),
    /// Remove bundles from the cache, never one that is in use
    Prune(Prune),
}

/// `pyshm cache list`
#[derive(Debug, Args)]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `pyshm cache prune`
#[derive(Debug, Args)]
#[command(
    after_help = "Without options this removes the least recently used bundles until the cache is no larger than \
PYSHM_CACHE_MAX (default: 20 GB)."
)]
pub struct Prune {
    /// Remove every bundle
    #[arg(long)]
    all: bool,
    /// Remove bundles that were not used for DAYS days
    #[arg(long, value_name = "DAYS", conflicts_with = "all")]
    older_than: Option<f64>,
    /// Print what was removed as JSON
    #[arg(long)]
    json: bool,
}

impl CacheCommand {
    pub(super) fn run(self) -> Result<()> {
        let directory = cache::directory()?;
        match self {
            Self::List(options) => {
                let entries = cache::list(&directory)?;
                if options.json {
                    return print_json(&entries);
                }
                if entries.is_empty() {
                    print_line!("nothing is cached in {}", directory.display());
                }
                entries.iter().for_each(show);
            }
            Self::Prune(options) => {
                let is_capped = !options.all && options.older_than.is_none();
                let cap = is_capped.then(cache::cap);
                let what =
                    PruneOptions { all: options.all, older_than_days: options.older_than, cap };
                let removed = cache::prune(&directory, &what)?;
                if options.json {
                    return print_json(&removed);
                }
                removed.iter().for_each(show);
            }
        }
        Ok(())
    }
}

fn show(entry: &EntryInfo) {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let days = now.saturating_sub(entry.used) / 86_400;
    let used = match days {
        0 => "used today".to_string(),
        1 => "used yesterday".to_string(),
        n => format!("used {n} days ago"),
    };
    let size = text::bytes(entry.bytes);
    print_line!(
        "{size:>10}  {used}{}  {}",
        if entry.busy { ", in use" } else { "" },
        entry.prefix.display()
    );
}
