//! Computes the name under which the ranks of a job find each other on a node, without reading the job's bundles.
#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStrExt;

use crate::launchers::rank_env;
use crate::program::python::ENVIRONMENT_VARIABLES;
use crate::run::cli::{Cli, Selector};
use crate::run::select::interests::SEARCH_VARIABLES;

/// Computes the name of the job that this process belongs to. All ranks of the job on a node compute the same name.
#[must_use]
pub fn compute(cli: &Cli) -> String {
    let mut hash = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part);
    };
    let bundles = &cli.bundles.0;
    let mut paths = bundles.iter().flat_map(|b| std::iter::once(&b.path).chain(&b.prefix));
    for bundle in bundles {
        add(bundle.path.as_os_str().as_bytes());
        if let Some(prefix) = &bundle.prefix {
            add(b"prefix");
            add(prefix.as_os_str().as_bytes());
        }
        if bundle.layer {
            add(b"layer");
        }
    }
    if paths.any(|path| path.is_relative()) {
        add(std::env::current_dir().unwrap_or_default().as_os_str().as_bytes());
    }
    // Ranks with different programs share the stage whose bundles the launcher's side selected for all.
    if !cli.preloaded.as_ref().is_some_and(|preloaded| preloaded.selector == Selector::Launcher) {
        add(cli.command[0].as_bytes());
        for name in SEARCH_VARIABLES.iter().chain(&ENVIRONMENT_VARIABLES) {
            add(std::env::var_os(name).unwrap_or_default().as_bytes());
        }
    }
    if rank_env::is_shared() {
        add(launch().as_bytes());
    } else {
        // A process that is no rank has a name of its own, because the next run must look at the prefix again.
        add(&std::process::id().to_le_bytes());
    }
    // The name has 32 digits, since a name with 16 digits is that of a stage.
    format!("{}.job", &hash.finalize().to_hex()[..32])
}

/// Names the launch to which this rank belongs: by the launcher's variables, or, if they do not name it, by the process
/// that started the rank.
fn launch() -> String {
    rank_env::launch().unwrap_or_else(|| {
        let (process, begun) = launcher();
        format!("process {process} {begun}")
    })
}

/// Finds the process that started the ranks, and its start time. This process is the nearest ancestor that does not
/// belong to this rank: a shell or a debugger of the rank may be in between. If the launcher sets no rank variable, the
/// parent is taken.
fn launcher() -> (i32, String) {
    let rank = rank_env::own().map(String::into_bytes);
    let mut process = rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get());
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // The fields follow the name, which may contain blanks: field 4 is the parent, field 22 the start time.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let variables = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let is_rank = rank.as_ref().is_some_and(|r| variables.split(|b| *b == 0).any(|v| v == r));
        match fields.get(1).and_then(|parent| parent.parse().ok()) {
            Some(parent) if is_rank && parent > 1 => process = parent,
            _ => return (process, fields.get(19).unwrap_or(&"").to_string()),
        }
    }
}
