//! Defines the names of a stage's files and directories, and of the environment variables that pyshm's parts share.
//!
//! ```text
//! <root>/pyshm-<uid>/<stage id>/        0700, the user's own
//!     index          immutable, mapped read-only by every process
//!     state          mapped read-write: marks of diverged paths, counters, programs outside every prefix
//!     lease          locked (flock) by every process that uses or builds the stage
//!     stage.json     for people: bundles, sizes, times
//!     env            the changes that `--reroute env` makes to the environment
//!     fs/<path>      the staged tree, under the original absolute paths
//!     manifests/<n>  the bundles' manifests, for other stages of this node that are made from this one
//!     orig/<path>    original bytes of the files that were edited under fs/ (RPATHs)
//!     lib/libpyshm.so, bin/pyshm-exec
//! ```
//!
//! If `<root>` is mounted `noexec`, `lib` and `bin` are symbolic links into a directory below `/tmp/pyshm-<uid>/`.
//! There the link [`BACK`] leads back to the stage.

/// The stage's index file.
pub const INDEX: &str = "index";
/// The stage's shared, writable state file.
pub const STATE: &str = "state";
/// The file that every user of the stage locks.
pub const LEASE: &str = "lease";
/// The description of the stage for people and for `pyshm status`.
pub const INFO: &str = "stage.json";
/// The file with the changes that `pyshm-exec --env` makes to the environment. A NUL ends each change. `NAME=VALUE`
/// sets a variable, `NAME` unsets the variable, and `NAME+=VALUE` puts VALUE and a colon before the variable's value.
pub const ENVIRONMENT: &str = "env";
/// Directory of the staged tree. A staged path is this directory followed by the original absolute path.
pub const FS: &str = "fs";
/// Directory of the original bytes of edited files, which have the same paths here as under [`FS`].
pub const ORIG: &str = "orig";
/// Directory of the bundles' manifests, by number. Only a staging process that makes another stage reads them.
pub const MANIFESTS: &str = "manifests";
/// The staged shim, relative to the stage.
pub const SHIM: &str = "lib/libpyshm.so";
/// The staged trampoline, relative to the stage.
pub const TRAMPOLINE: &str = "bin/pyshm-exec";

/// Name of a symbolic link to the stage. The link lies in the directory to which the links `lib` and `bin` lead.
pub const BACK: &str = "stage";

/// If the variable is set and neither empty nor `0`, the shim does nothing.
pub const ENV_DISABLE: &str = "PYSHM_DISABLE";
/// If the variable is set and neither empty nor `0`, the shim says at the start of each program whether it is active.
pub const ENV_LOG: &str = "PYSHM_LOG";
/// Says which container runtimes run without the shim. With `keep`, every runtime gets the shim. Any other value names
/// further runtimes, separated by colons, that run without the shim.
pub const ENV_CONTAINERS: &str = "PYSHM_CONTAINERS";
/// The stage's directory. If the variable is not set, the shim uses the stage that contains the shim's own file.
pub const ENV_STAGE: &str = "PYSHM_STAGE";
/// Carries a value of `LD_PRELOAD` to a child's constructor, which restores `LD_PRELOAD`. This variable's name ends
/// with `LD_PRELOAD`, so the end of its string is the restored string.
pub const ENV_SAVED_PRELOAD: &str = "PYSHM_LD_PRELOAD";
/// Carries the `LD_LIBRARY_PATH` that a child must see, if the child's real `LD_LIBRARY_PATH` leads into the stage.
pub const ENV_SAVED_LIBRARY_PATH: &str = "PYSHM_LD_LIBRARY_PATH";

/// The access time, in seconds and nanoseconds, that identifies a staged file. `hash` is the hash of the file's path.
/// The shim uses the access time to tell an open staged file from another one of the same size and modification time.
/// The original's access time is in the index. The staged file's access time lies in the future (2096), so no kernel
/// updates it when the file is read.
#[must_use]
pub fn staged_access_time(hash: u64) -> (i64, u32) {
    (4_000_000_000, (hash % 1_000_000_000) as u32)
}
