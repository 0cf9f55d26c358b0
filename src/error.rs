//! What can go wrong, said so that the reader knows the file, the cause and the way out.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use crate::exit_codes;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, with its exit code in [`Error::exit_code`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that was named is not there or cannot be read.
    #[error("failed to read {what} {path}: {cause}", path = path.display())]
    NoInput {
        /// "bundle", "prefix" …
        what: &'static str,
        /// Its name.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A bundle that is damaged or refused.
    #[error("bundle {path} is refused: {reason}", path = path.display())]
    BadBundle {
        /// The bundle.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The stage or the bundle does not fit.
    #[error("{what} has {numbers}: {advice}, or choose another place with --root")]
    NoSpace {
        /// The file system, or what else is limited.
        what: String,
        /// What is free and what is needed.
        numbers: String,
        /// What to do.
        advice: &'static str,
    },
    /// A member of an archive does not fit.
    #[error("bundle {bundle}: {reason}", bundle = bundle.display())]
    TooLarge {
        /// The bundle.
        bundle: PathBuf,
        /// Which member, how large, and where.
        reason: String,
    },
    /// A file or directory cannot be made or written.
    #[error("failed to write {path}: {cause}", path = path.display())]
    CannotWrite {
        /// Its name.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A directory in the root that is not ours alone, or another thing in its place.
    #[error(
        "{path} is not trusted: {reason}; choose another place, as --root /tmp, or --root with a private directory of \
         yours in /dev/shm",
        path = path.display()
    )]
    Untrusted {
        /// Its name.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of ours that someone else could have made.
    #[error("{path} is not trusted: {reason}", path = path.display())]
    NotOurs {
        /// Its name.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
    /// Something changed underneath or is in use.
    #[error("{0}")]
    TryAgain(String),
    /// The launcher, MPI or its helper is missing or failed.
    #[error("{0}")]
    Unavailable(String),
    /// A wrong combination of options and the like, found after the command line was parsed.
    #[error("{0}")]
    Usage(String),
    /// The command is not found.
    #[error("{0}: command not found")]
    CommandNotFound(String),
    /// The command cannot be executed.
    #[error("{command}: {cause}")]
    NotExecutable {
        /// As it was typed.
        command: String,
        /// Why.
        cause: io::Error,
    },
    /// A system call failed that has no reason to.
    #[error("failed to {what}: {cause}")]
    System {
        /// What was attempted.
        what: String,
        /// Why it failed.
        cause: io::Error,
    },
    /// A failure of another process of ours, which has said what and how it would have exited.
    #[error("{message}")]
    Reported {
        /// What it said.
        message: String,
        /// Its exit code.
        code: u8,
    },
    /// Stopped by a signal.
    #[error("stopped by signal {0}")]
    Interrupted(i32),
}

impl Error {
    /// A file of ours that cannot be written.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |cause| Self::CannotWrite { path, cause }
    }

    /// A named input that cannot be read.
    pub fn read(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |cause| Self::NoInput { what, path, cause }
    }

    /// A bundle that is refused.
    pub fn bundle(path: &Path, reason: impl Into<String>) -> Self {
        Self::BadBundle { path: path.to_path_buf(), reason: reason.into() }
    }

    /// A system call that failed; `what` completes "failed to …".
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::System { what, cause }
    }

    /// The documented exit code, see [`crate::exit_codes`].
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
            Self::Unavailable(_) => exit_codes::UNAVAILABLE,
            Self::Usage(_) => exit_codes::USAGE,
            Self::CommandNotFound(_) => exit_codes::NOT_FOUND,
            Self::NotExecutable { .. } => exit_codes::NOT_EXECUTABLE,
            Self::System { .. } => exit_codes::SYSTEM,
            Self::Reported { code, .. } => *code,
            Self::Interrupted(signal) => 128u8.wrapping_add(*signal as u8),
        }
    }
}
