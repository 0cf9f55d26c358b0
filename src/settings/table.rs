//! All settings, in one table: what `pyshm config` shows is what the rest asks for.
#![forbid(unsafe_code)]

use super::value::Form;

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
}

const fn setting(
    key: &'static str,
    variable: Option<&'static str>,
    form: Form,
    default: &'static str,
) -> Setting {
    Setting { key, variable, form, default }
}

/// Where stages lie.
pub const ROOT: Setting = setting("root", Some("PYSHM_ROOT"), Form::Directory, "/dev/shm");
/// What stays free for MPI and the application.
pub const RESERVE: Setting =
    setting("reserve", Some("PYSHM_RESERVE"), Form::Size, "(a 16th of the root, 64 MB to 4 GB)");
/// How long MPI, or the rank that stages, is waited for.
pub const WAIT: Setting = setting("wait", Some("PYSHM_WAIT"), Form::Seconds, "300");
/// Whether stages stay for later jobs.
pub const KEEP: Setting = setting("keep", None, Form::Flag, "false");
/// Whether the command runs from the shared file system when staging fails.
pub const FALLBACK: Setting = setting("fallback", None, Form::Flag, "true");
/// How ranks come to use the stage.
pub const REROUTE: Setting = setting("reroute", None, Form::Word(&["shim", "env", "off"]), "shim");
/// Whether to say at the end what was staged.
pub const SUMMARY: Setting = setting("summary", None, Form::Flag, "(on a terminal)");
/// Threads that unpack on each node.
pub const THREADS: Setting = setting("threads", None, Form::Number, "0");
/// Bytes that are broadcast at once. Smaller ones cost bandwidth, larger ones memory: eight of them.
pub const CHUNK: Setting = setting("chunk", None, Form::Chunk, "4MiB");
/// The cache of bundles.
pub const CACHE: Setting =
    setting("cache", Some("PYSHM_CACHE"), Form::Directory, "(~/.cache/pyshm)");
/// How large the cache may become.
pub const CACHE_MAX: Setting = setting("cache_max", Some("PYSHM_CACHE_MAX"), Form::Size, "20GB");
/// What one rank reads at its start, for the rule whether staging pays.
pub const SERIAL_READ: Setting =
    setting("serial_read", Some("PYSHM_SERIAL_READ"), Form::Size, "64MiB");

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
