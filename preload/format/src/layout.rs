//! Names of the files and directories of a stage, and of the environment variables that pyshm's parts use among
//! themselves.
//!
//! ```text
//! <root>/pyshm-<uid>/<stage id>/        0700, the user's own
//!     index          immutable, mapped read-only by every process
//!     state          mapped read-write: marks of diverged paths, counters, programs outside every prefix
//!     lease          flock: who uses the stage
//!     stage.json     for people: bundles, sizes, times
//!     env            what `--reroute env` changes in the environment
//!     fs/<path>      the staged tree, under the original absolute paths
//!     manifests/<n>  the bundles' manifests, for other stages of this node that are made from this one
//!     orig/<path>    original bytes of the files that were edited under fs/ (RPATHs)
//!     lib/libpyshm.so, bin/pyshm-exec
//! ```
//!
//! Where `<root>` is mounted `noexec`, `lib` and `bin` are symbolic links to a directory below `/tmp/pyshm-<uid>/`, in
//! which [`BACK`] leads back.

/// The stage's index file.
pub const INDEX: &str = "index";
/// The stage's shared, writable state file.
pub const STATE: &str = "state";
/// Locked by who uses the stage.
pub const LEASE: &str = "lease";
/// What people and `pyshm status` read about the stage.
pub const INFO: &str = "stage.json";
/// Changes that `pyshm-exec --env` makes to the environment, each followed by a NUL: `NAME=VALUE` sets, `NAME` unsets,
/// `NAME+=VALUE` puts the value in front of the present one, with a colon between.
pub const ENVIRONMENT: &str = "env";
/// Directory of the staged tree; a staged path is this directory and the original absolute path.
pub const FS: &str = "fs";
/// Directory of the original bytes of edited files, mirrored as under [`FS`].
pub const ORIG: &str = "orig";
/// Directory of the bundles' manifests, by number; only builders of other stages read them.
pub const MANIFESTS: &str = "manifests";
/// The staged shim, relative to the stage.
pub const SHIM: &str = "lib/libpyshm.so";
/// The staged trampoline, relative to the stage.
pub const TRAMPOLINE: &str = "bin/pyshm-exec";

/// Follows `$ORIGIN` in a search path that was edited to lead from a library's own directory. The loader keeps this
/// spelling in the names of the libraries that it finds there.
pub const BY_ORIGIN: &[u8] = b"/.//";

/// Symbolic link to the stage, in the directory that `lib` and `bin` lead to.
pub const BACK: &str = "stage";

/// Turns the shim off if it is set and neither empty nor `0`.
pub const ENV_DISABLE: &str = "PYSHM_DISABLE";
/// Makes the shim say when a program starts whether it is active; silent if it is empty or `0`.
pub const ENV_LOG: &str = "PYSHM_LOG";
/// Whether container runtimes get the shim: `keep` hands it on to them; any other value names, separated by colons,
/// further such programs beside those that are known.
pub const ENV_CONTAINERS: &str = "PYSHM_CONTAINERS";
/// The stage's directory; if it is not set, the shim uses the stage that it lies in.
pub const ENV_STAGE: &str = "PYSHM_STAGE";
/// Carries a value of `LD_PRELOAD` to a child's constructor, which restores it: `LD_PRELOAD=` follows `PYSHM_`.
pub const ENV_SAVED_PRELOAD: &str = "PYSHM_LD_PRELOAD";
/// Carries the visible `LD_LIBRARY_PATH` to a child whose real one is rewritten to the stage.
pub const ENV_SAVED_LIBRARY_PATH: &str = "PYSHM_LD_LIBRARY_PATH";

/// The time of last access, in seconds and nanoseconds, of the staged file whose path has this hash. The original's is
/// in the index, so this one can tell an open file of the stage from another of the same size and time. It lies in the
/// future (2096), where no kernel updates it when the file is read.
#[must_use]
pub fn staged_access_time(hash: u64) -> (i64, u32) {
    (4_000_000_000, (hash % 1_000_000_000) as u32)
}
