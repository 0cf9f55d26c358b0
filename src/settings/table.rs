//! Lists all settings in one table, from which `pyshm config` shows them and the rest of pyshm reads them.
#![forbid(unsafe_code)]

use crate::settings::table::DefaultValue::{Text, Varies};
use crate::settings::value::Form;

/// A setting with one value. The settings with lists (`bundles` and the options of launchers) are not in this table.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the file.
    pub key: &'static str,
    /// Its variable, if it has one.
    pub variable: Option<&'static str>,
    /// The form of its value.
    pub form: Form,
    /// The value that applies if neither a variable nor the file sets the setting.
    pub default: DefaultValue,
    /// What the setting means, for the authors of a settings file.
    pub meaning: &'static str,
}

/// The value of a setting that neither a variable nor the file sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This text.
    Text(&'static str),
    /// A value that depends on the system.
    Varies {
        /// What it depends on.
        how: &'static str,
        /// A value that could be set instead.
        example: &'static str,
    },
}

impl Setting {
    /// Returns a value as it is written in a settings file.
    #[must_use]
    pub fn written(&self, text: &str) -> String {
        match self.form {
            Form::Flag | Form::Number | Form::Seconds => text.into(),
            _ => toml::Value::from(text).to_string(),
        }
    }
}

/// The default of `chunk`.
pub const DEFAULT_CHUNK: &str = "4MiB";

const fn setting(
    key: &'static str,
    variable: Option<&'static str>,
    form: Form,
    default: DefaultValue,
    meaning: &'static str,
) -> Setting {
    Setting { key, variable, form, default, meaning }
}

/// The directory of stages.
pub const ROOT: Setting = setting(
    "root",
    Some("PYSHM_ROOT"),
    Form::Directory,
    Text("/dev/shm"),
    "The directory of stages on each node, in its memory or on its own disk.",
);
/// Memory that stays free for MPI and the application.
pub const RESERVE: Setting = setting(
    "reserve",
    Some("PYSHM_RESERVE"),
    Form::Size,
    Varies { how: "a 16th of the root, 64 MB to 4 GB", example: "1GB" },
    "Bytes of memory that stay free for MPI and the application.",
);
/// How long staging may make no progress, and how long ranks wait for the rank that stages for their node.
pub const WAIT: Setting = setting(
    "wait",
    Some("PYSHM_WAIT"),
    Form::Seconds,
    Text("300"),
    "Seconds without progress after which staging is given up, or for which ranks wait for the one that stages.",
);
/// Whether stages stay for later jobs.
pub const KEEP: Setting = setting(
    "keep",
    None,
    Form::Flag,
    Text("false"),
    "Whether stages stay for later steps and jobs, until an epilog or 'pyshm unstage' removes them.",
);
/// Whether the command runs from the shared file system when staging fails.
pub const FALLBACK: Setting = setting(
    "fallback",
    None,
    Form::Flag,
    Text("true"),
    "Whether a job runs from the shared file system when staging fails; otherwise it ends with an error.",
);
/// How ranks use the stage.
pub const REROUTE: Setting = setting(
    "reroute",
    None,
    Form::Word(&["shim", "env", "off"]),
    Text("shim"),
    "How ranks use the stage: shim, env or off (see pyshm-run --help).",
);
/// Whether to print a line at the end about what was staged.
pub const SUMMARY: Setting = setting(
    "summary",
    None,
    Form::Flag,
    Varies { how: "on a terminal", example: "true" },
    "Whether pyshm-run prints a line at the end about what was staged.",
);
/// Threads that unpack on each node.
pub const THREADS: Setting = setting(
    "threads",
    None,
    Form::Number,
    Text("0"),
    "Threads that unpack on each node; 0 means as many as the step has processors there.",
);
/// Bytes that are broadcast in one operation. Smaller chunks reduce the bandwidth. Larger chunks take more memory,
/// because each node keeps eight chunks.
pub const CHUNK: Setting = setting(
    "chunk",
    None,
    Form::Chunk,
    Text(DEFAULT_CHUNK),
    "Bytes that are broadcast in one operation; each node keeps eight times as many in memory.",
);
/// The directory of the cache of bundles.
pub const CACHE: Setting = setting(
    "cache",
    Some("PYSHM_CACHE"),
    Form::Directory,
    Varies { how: "~/.cache/pyshm", example: "/scratch/me/pyshm" },
    "The directory of the bundles that pyshm packs automatically; only for a user's own settings file.",
);
/// How large the cache may become.
pub const CACHE_MAX: Setting = setting(
    "cache_max",
    Some("PYSHM_CACHE_MAX"),
    Form::Size,
    Text("20GB"),
    "How large the cache may become before its least recently used bundles are removed.",
);
/// Bytes that one rank reads at its start; they decide whether staging is worthwhile.
pub const SERIAL_READ: Setting = setting(
    "serial_read",
    Some("PYSHM_SERIAL_READ"),
    Form::Size,
    Text("64MiB"),
    "Bytes that a rank reads at its start; an environment more than 64 times larger than what all ranks read is not staged automatically.",
);

/// All settings, in the order in which they are shown.
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
    fn every_default_has_the_form_of_its_setting() {
        for setting in &TABLE {
            let (Text(value) | Varies { example: value, .. }) = setting.default;
            assert_eq!(setting.form.check(OsStr::new(value)), Ok(()), "{}", setting.key);
        }
    }
}
