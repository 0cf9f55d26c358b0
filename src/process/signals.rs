//! Handles signals. Some end pyshm's processes, others are meant for the user's command.
#![forbid(unsafe_code)]

use std::sync::Arc;

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};

use crate::error::{Error, Result};
use crate::process::temp_files;

/// Signals that end staging.
pub const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// Signals that `pyshm-run` forwards to the user's command.
pub const FORWARDED: [i32; 8] =
    [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU];
/// Forwarded signals that are never meant for pyshm's own processes, although a resource manager sends them to all
/// processes of a job.
pub const FOR_THE_COMMAND: [i32; 4] = [SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU];

/// When one of `signals` arrives, removes this process's temporary files and ends the process by that signal.
///
/// # Errors
/// [`Error::System`] when no handler can be installed.
pub fn end_on(signals: &[i32]) -> Result<()> {
    let failed = Error::system("handle signals");
    let mut arriving = signal_hook::iterator::Signals::new(signals).map_err(failed)?;
    std::thread::spawn(move || {
        if let Some(signal) = arriving.forever().next() {
            temp_files::remove_all();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            signal_hook::low_level::exit(128 + signal);
        }
    });
    Ok(())
}

/// Makes this process ignore `signals`. They are meant for the application, and most of them end a process by default.
///
/// # Errors
/// As [`end_on`].
pub fn ignore(signals: &[i32]) -> Result<()> {
    for signal in signals {
        signal_hook::flag::register(*signal, Arc::default())
            .map_err(Error::system("handle signals"))?;
    }
    Ok(())
}
