//! Decides what a failure to stage means: the command runs from the shared file system after one line of warning, or
//! `pyshm-run` ends with the error.
#![forbid(unsafe_code)]

use crate::error::{Error, Result, one_line};
use crate::exit_codes::{NOT_EXECUTABLE, NOT_FOUND};
use crate::run::cli::Cli;

/// Warns that staging failed because of `cause` and that the command runs from the shared file system.
///
/// # Errors
/// `cause` itself, with `--no-fallback` or if it [is final](is_final).
pub fn warn_or_fail(cli: &Cli, cause: Error) -> Result<()> {
    if is_final(&cause) || !cli.falls_back() {
        return Err(cause);
    }
    warn_line!("pyshm-run: warning: {}; running from the shared file system", one_line(cause));
    Ok(())
}

/// Whether the command is not run after this error, whatever the options say. Such an error means that the command
/// cannot run, or that a signal ends the job.
#[must_use]
pub fn is_final(error: &Error) -> bool {
    match error {
        Error::CommandNotFound(_) | Error::NotExecutable { .. } | Error::Interrupted(_) => true,
        Error::Reported { code, .. } => matches!(*code, NOT_FOUND | NOT_EXECUTABLE),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::protocol::events::Failure;

    #[test]
    fn a_command_that_cannot_run_never_falls_back() {
        let cli = |words: &[&str]| Cli::try_parse_from([&["pyshm-run"], words].concat()).unwrap();
        let fails = |words: &[&str], error| warn_or_fail(&cli(words), error).is_err();
        assert!(fails(&["x"], Error::CommandNotFound("x".into())));
        let failure = Failure { message: "x: command not found".into(), code: 127 };
        assert!(fails(&["x"], failure.into()));
        assert!(!fails(&["x"], Error::Unavailable("no MPI".into())));
        assert!(fails(&["--no-fallback", "x"], Error::Unavailable("no MPI".into())));
    }
}
