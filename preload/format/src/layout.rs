//! Names of the files and directories of a stage, and of the variables that pyshm's parts say to each other.
//!
//! ```text
//! <root>/pyshm-<uid>/<stage id>/        0700, the user's own
//!     index          immutable, mapped read-only by every process
//!     state          mapped read-write: what diverged, and counters
//!     lease          flock: who uses the stage
//!     stage.json     for people: bundles, sizes, times
//!     env            what `--reroute env` changes in the environment
//!     fs/<path>      the staged tree, under the original absolute paths
//!     manifests/<n>  what the bundles held, for other stages of this node that are made from this one
//!     orig/<path>    pristine bytes of the files that were edited under fs/ (RPATHs)
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
/// What `pyshm-exec --env` changes in the environment, each followed by a NUL: `NAME=VALUE` sets, `NAME` unsets,
/// `NAME+=VALUE` puts the value in front of what is there, with a colon between.
pub const ENVIRONMENT: &str = "env";
/// The staged tree; a staged path is this directory followed by the original absolute path.
pub const FS: &str = "fs";
/// Pristine copies of edited files, mirrored as under [`FS`].
pub const ORIG: &str = "orig";
/// What each bundle held, by its number; only other stages' builders read it.
pub const MANIFESTS: &str = "manifests";
/// The staged shim, relative to the stage.
pub const SHIM: &str = "lib/libpyshm.so";
/// The staged trampoline, relative to the stage.
pub const TRAMPOLINE: &str = "bin/pyshm-exec";

/// In the directory that `lib` and `bin` lead to: a symbolic link to the stage.
pub const BACK: &str = "stage";

/// Turns the shim off when it is set to anything but `0` or nothing.
pub const ENV_DISABLE: &str = "PYSHM_DISABLE";
/// Makes the shim say once, when a program starts, whether it is active; silent when it is `0` or nothing.
pub const ENV_LOG: &str = "PYSHM_LOG";
/// What becomes of the shim where a program is started in another root file system: `keep` hands it on, anything else names,
/// with colons between them, programs that start others there beside those that are known.
pub const ENV_CONTAINERS: &str = "PYSHM_CONTAINERS";
/// The stage's directory; without it the shim looks beside itself.
pub const ENV_STAGE: &str = "PYSHM_STAGE";
/// Carries a value of `LD_PRELOAD` to a child's constructor, which restores it: `LD_PRELOAD=` follows `PYSHM_`.
pub const ENV_SAVED_PRELOAD: &str = "PYSHM_LD_PRELOAD";
/// Carries the visible `LD_LIBRARY_PATH` to a child whose real one is rewritten to the stage.
pub const ENV_SAVED_LIBRARY_PATH: &str = "PYSHM_LD_LIBRARY_PATH";

/// The time of last access, in seconds and nanoseconds, that the staged file of the path with this hash is given: the
/// original's is in the index, so it is free to tell one open file of the stage from another one of the same size and
/// time. It lies in the future (2096), where no kernel brings it up to date when the file is read.
#[must_use]
pub fn staged_access_time(hash: u64) -> (i64, u32) {
    (4_000_000_000, (hash % 1_000_000_000) as u32)
}
