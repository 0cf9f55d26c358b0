//! Makes the request to the staging helper from the command line and the settings.
#![forbid(unsafe_code)]

use crate::protocol::request::{AbsentProgram, Otherwise, Request, Selection, Task};
use crate::run::cli::{Cli, Selector};
use crate::settings;

/// Selects the bundles that the command line names. If it names none, selects the configured bundles. If none is
/// configured, selects the bundles that are made automatically.
#[must_use]
pub fn selection(cli: &Cli) -> Selection {
    let named = &cli.bundles.0;
    match &cli.preloaded {
        _ if named.is_empty() => match settings::bundles() {
            none if none.is_empty() => Selection::Automatic,
            configured => Selection::Configured(configured, Otherwise::Automatic),
        },
        None => Selection::Named(named.clone()),
        Some(preloaded) => match preloaded.selector {
            Selector::Launcher => Selection::Decided(named.clone()),
            Selector::Rank => Selection::Configured(named.clone(), Otherwise::Nothing),
        },
    }
}

/// Makes the request for the command, whose programs are at the positions `programs` and run as `ranks` ranks.
#[must_use]
pub fn new(
    cli: &Cli,
    selection: Selection,
    programs: Vec<usize>,
    absent_program: AbsentProgram,
    ranks: usize,
    task: Task,
) -> Request {
    Request {
        selection,
        command: cli.command.clone(),
        programs,
        absent_program,
        ranks,
        task,
        root: cli.root.clone(),
        threads: cli.threads,
        timeline: cli.timeline,
        keep: cli.keeps(),
        verbose: cli.verbose,
    }
}
