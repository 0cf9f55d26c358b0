//! Defines the errors. Each message says in one line what failed, why, and what the user can do about it: "failed to
//! VERB OBJECT: cause; way out".
//!
//! Invariants:
//! - An error that another one caused is its `source`.
//! - A message has one line, without the "(os error 2)" that [`io::Error`] appends: [`one_line`] cleans every text that
//!   pyshm did not write.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit_codes;

/// The result of a function that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something failed: an error, or a sentence made from `&str` or `String`.
pub type Reason = Box<dyn std::error::Error + Send + Sync>;

/// A failure, with its exit code in [`Error::exit_code`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An input that the user named does not exist or cannot be read.
    #[error("failed to read {what} {path}: {cause}", path = path.display(), cause = one_line(cause))]
    NoInput {
        /// The kind of input: "bundle", "prefix" …
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The failed system call's error.
        #[source]
        cause: io::Error,
    },
    /// A bundle is damaged, or its contents are not accepted.
    #[error("failed to use bundle {path}: {reason}", path = path.display(), reason = one_line(reason))]
    BadBundle {
        /// The bundle.
        path: PathBuf,
        /// What is wrong, and what to do.
        #[source]
        reason: Reason,
    },
    /// The stage does not fit.
    #[error(
        "failed to fit the stage into {what}: {numbers}; {advice}, or choose another place with --root"
    )]
    NoSpace {
        /// The file system or the memory limit that is too small.
        what: String,
        /// How much is free and how much is needed.
        numbers: String,
        /// What to do.
        advice: &'static str,
    },
    /// A member of a foreign tar does not fit.
    #[error("failed to unpack bundle {bundle}: {reason}", bundle = bundle.display())]
    TooLarge {
        /// The tar.
        bundle: PathBuf,
        /// The member, its size, and the limit.
        reason: String,
    },
    /// A file or directory cannot be created or written.
    #[error("failed to write {path}: {cause}", path = path.display(), cause = one_line(cause))]
    CannotWrite {
        /// Its path.
        path: PathBuf,
        /// The failed system call's error.
        #[source]
        cause: io::Error,
    },
    /// Another user may have made, or can change, a directory of stages or a path in one.
    #[error(
        "failed to trust {path}: {reason}; choose another place, as --root /tmp, or --root with a private directory of \
         yours in /dev/shm",
        path = path.display()
    )]
    Untrusted {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another user may have made a file of pyshm outside the directories of stages.
    #[error("failed to trust {path}: {reason}", path = path.display())]
    NotOurs {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
    /// Something is in use, or changed while pyshm used it: a second attempt may succeed.
    #[error("{}", one_line(.0))]
    TryAgain(String),
    /// The launcher, MPI or the broadcast helper is missing, or has failed.
    #[error("{}", one_line(.0))]
    Unavailable(String),
    /// A launcher, helper or interpreter does not run.
    #[error("failed to {what}: {cause}; {advice}", cause = one_line(cause))]
    CannotRun {
        /// What was attempted; completes "failed to …".
        what: String,
        /// Why it failed.
        #[source]
        cause: Reason,
        /// What to do.
        advice: &'static str,
    },
    /// Options, variables or settings that are wrong or contradict each other, found after the command line was parsed.
    #[error("{}", one_line(.0))]
    Usage(String),
    /// The command is not found.
    #[error("failed to run {}: command not found", one_line(.0))]
    CommandNotFound(String),
    /// The command is found and cannot be executed.
    #[error("failed to run {command}: {cause}", command = one_line(command), cause = one_line(cause))]
    NotExecutable {
        /// The command as the user typed it.
        command: String,
        /// Why it cannot be executed.
        #[source]
        cause: io::Error,
    },
    /// A system call failed unexpectedly.
    #[error("failed to {what}: {cause}", cause = one_line(cause))]
    System {
        /// What was attempted; completes "failed to …".
        what: String,
        /// The failed system call's error.
        #[source]
        cause: io::Error,
    },
    /// A failure that another process of pyshm reported.
    #[error("{}", one_line(message))]
    Reported {
        /// Its message.
        message: String,
        /// Its exit code.
        code: u8,
    },
    /// A signal ended the work.
    #[error("stopped by signal {0}")]
    Interrupted(i32),
}

/// Returns a message in one line, without the numbers, such as "(os error 2)", that [`io::Error`] appends.
///
/// The errors of this module call this function. Other code calls it for an [`io::Error`] that the code prints or puts
/// into a sentence.
#[must_use]
pub fn one_line(message: impl fmt::Display) -> String {
    const NUMBER: &str = " (os error ";
    let mut text = message.to_string();
    if text.contains('\n') {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        text = lines.collect::<Vec<_>>().join(" ");
    }
    while let Some(start) = text.find(NUMBER) {
        let Some(length) = text[start..].find(')') else { break };
        text.replace_range(start..=start + length, "");
    }
    text
}

impl Error {
    /// Makes the error of a file that cannot be written.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |cause| Self::CannotWrite { path, cause }
    }

    /// Makes the error of a named input that cannot be read.
    pub fn read(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |cause| Self::NoInput { what, path, cause }
    }

    /// The error of a bundle that is not accepted; `reason` is a sentence or the error that says why.
    pub fn bundle(path: &Path, reason: impl Into<Reason>) -> Self {
        Self::BadBundle { path: path.to_path_buf(), reason: reason.into() }
    }

    /// Makes the error of a system call that failed; `what` completes "failed to …".
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::System { what, cause }
    }

    /// The error of a launcher, helper or interpreter that does not run; `what` completes "failed to …".
    pub fn cannot_run(
        what: impl Into<String>,
        cause: impl Into<Reason>,
        advice: &'static str,
    ) -> Self {
        Self::CannotRun { what: what.into(), cause: cause.into(), advice }
    }

    /// The exit code of a command that fails with this error, see [`crate::exit_codes`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoInput { .. } => exit_codes::NO_INPUT,
            Self::BadBundle { .. } => exit_codes::BAD_BUNDLE,
            Self::NoSpace { .. }
            | Self::TooLarge { .. }
            | Self::CannotWrite { .. }
            | Self::Untrusted { .. }
            | Self::NotOurs { .. } => exit_codes::CANNOT_WRITE,
            Self::TryAgain(_) => exit_codes::TRY_AGAIN,
            Self::Unavailable(_) | Self::CannotRun { .. } => exit_codes::UNAVAILABLE,
            Self::Usage(_) => exit_codes::USAGE,
            Self::CommandNotFound(_) => exit_codes::NOT_FOUND,
            Self::NotExecutable { .. } => exit_codes::NOT_EXECUTABLE,
            Self::System { .. } => exit_codes::SYSTEM,
            Self::Reported { code, .. } => *code,
            Self::Interrupted(signal) => 128u8.wrapping_add(*signal as u8),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_message_has_one_line_and_no_number() {
        let missing = || io::Error::from_raw_os_error(2);
        let error = Error::read("bundle", Path::new("/b"))(missing());
        assert_eq!(error.to_string(), "failed to read bundle /b: No such file or directory");
        assert!(error.source().is_some());
        let told = Error::Usage(format!("failed to do it ({});\n  try\n\nagain", missing()));
        assert_eq!(told.to_string(), "failed to do it (No such file or directory); try again");
        assert_eq!(one_line("a (os error 2"), "a (os error 2");
    }

    #[test]
    fn the_reason_of_a_bad_bundle_is_a_sentence_or_an_error() {
        let error = Error::bundle(Path::new("/b"), "it is truncated: copy it again");
        assert_eq!(error.to_string(), "failed to use bundle /b: it is truncated: copy it again");
        let error = Error::bundle(Path::new("/b"), io::Error::from_raw_os_error(5));
        assert_eq!(error.to_string(), "failed to use bundle /b: Input/output error");
        assert!(error.source().is_some_and(|source| source.is::<io::Error>()));
    }
}
