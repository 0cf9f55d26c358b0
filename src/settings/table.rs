//! All settings, in one table: what `pyshm config` shows is what the rest asks for.
#![forbid(unsafe_code)]

use crate::settings::value::Form;

/// A setting of one value. `bundles` and the launchers' options, which are lists, are not among them.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the file.
    pub key: &'static str,
    /// Its variable, if it has one.
    pub variable: Option<&'static str>,
    /// What it may be.
    pub form: Form,
    /// What counts where nobody says anything; where this is no single value, in words and in parentheses.
    pub default: &'static str,
    /// What it is, for who writes a file.
    pub meaning: &'static str,
}

impl Setting {
    /// A value as it is written in a file.
    #[must_use]
    pub fn written(&self, text: &str) -> String {
        match self.form {
            Form::Flag | Form::Number | Form::Seconds => text.into(),
            _ => toml::Value::from(text).to_string(),
        }
    }
}

const fn setting(
    key: &'static str,
    variable: Option<&'static str>,
    form: Form,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { key, variable, form, default, meaning }
}

/// Where stages lie.
pub const ROOT: Setting = setting(
    "root",
    Some("PYSHM_ROOT"),
    Form::Directory,
    "/dev/shm",
    "Where stages lie: a directory of each node, in its memory or on a disk of its own.",
);
/// What stays free for MPI and the application.
pub const RESERVE: Setting = setting(
    "reserve",
    Some("PYSHM_RESERVE"),
    Form::Size,
    "(a 16th of the root, 64 MB to 4 GB)",
    "What stays free there for MPI and the application.",
);
/// How long MPI, or the rank that stages, is waited for.
pub const WAIT: Setting = setting(
    "wait",
    Some("PYSHM_WAIT"),
    Form::Seconds,
    "300",
    "Seconds to wait for MPI, or for the rank that stages for its node.",
);
/// Whether stages stay for later jobs.
pub const KEEP: Setting = setting(
    "keep",
    None,
    Form::Flag,
    "false",
    "Whether stages stay for later steps and jobs, until an epilog or 'pyshm unstage' removes them.",
);
/// Whether the command runs from the shared file system when staging fails.
pub const FALLBACK: Setting = setting(
    "fallback",
    None,
    Form::Flag,
    "true",
    "Whether a job runs from the shared file system where staging fails; it ends with an error else.",
);
/// How ranks come to use the stage.
pub const REROUTE: Setting = setting(
    "reroute",
    None,
    Form::Word(&["shim", "env", "off"]),
    "shim",
    "How ranks come to use the stage: shim, env or off (pyshm-run --help).",
);
/// Whether to say at the end what was staged.
pub const SUMMARY: Setting = setting(
    "summary",
    None,
    Form::Flag,
    "(on a terminal)",
    "Whether pyshm-run says at the end what was staged.",
);
/// Threads that unpack on each node.
pub const THREADS: Setting = setting(
    "threads",
    None,
    Form::Number,
    "0",
    "Threads that unpack on each node; 0: as many as the step has processors there.",
);
/// Bytes that are broadcast at once. Smaller ones cost bandwidth, larger ones memory: eight of them.
pub const CHUNK: Setting = setting(
    "chunk",
    None,
    Form::Chunk,
    "4MiB",
    "Bytes that are broadcast at once; eight of them are in memory.",
);
/// The cache of bundles.
pub const CACHE: Setting = setting(
    "cache",
    Some("PYSHM_CACHE"),
    Form::Directory,
    "(~/.cache/pyshm)",
    "Where one user's bundles lie that pyshm makes by itself: for a file of that user's, not for everyone's.",
);
/// How large the cache may become.
pub const CACHE_MAX: Setting = setting(
    "cache_max",
    Some("PYSHM_CACHE_MAX"),
    Form::Size,
    "20GB",
    "How large that may become before what was not used for longest is removed.",
);
/// What one rank reads at its start, for the rule whether staging pays.
pub const SERIAL_READ: Setting = setting(
    "serial_read",
    Some("PYSHM_SERIAL_READ"),
    Form::Size,
    "64MiB",
    "What a rank reads at its start: an environment 64 times larger than all ranks read is not bundled by itself.",
);

/// All of them, in the order in which they are shown.
pub const TABLE: [Setting; 12] = [
    ROOT,
    RESERVE,
    WAIT,
    KEEP,
    FALLBACK,
    REROUTE,
    SUMMARY,
    THREADS,
    CHUNK,
    CACHE,
    CACHE_MAX,
    SERIAL_READ,
];

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn every_default_has_the_form_that_is_asked_for() {
        for setting in TABLE.iter().filter(|s| !s.default.starts_with('(')) {
            assert_eq!(setting.form.check(OsStr::new(setting.default)), Ok(()), "{}", setting.key);
        }
    }
}
