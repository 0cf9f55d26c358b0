//! `pyshm cache` (to be wired).
#![forbid(unsafe_code)]
use clap::Subcommand;

use crate::error::Result;

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List
    List,
}

impl CacheCommand {
    pub(super) fn run(self) -> Result<()> {
        Ok(())
    }
}
