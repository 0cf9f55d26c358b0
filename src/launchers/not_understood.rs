//! Holds the reasons why a launcher's command line is not understood.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// What the user can do about a command line that is not understood.
pub const WAY_OUT: &str = "set PYSHM_BCAST_LAUNCH to the command that starts one process on each of the job's nodes and \
                           PYSHM_PROGRAM to the word that is the program";

/// Why a launcher's command line is not understood. The text completes "failed to understand the command of mpiexec:
/// …".
#[derive(Debug, thiserror::Error)]
pub enum NotUnderstood {
    /// pyshm does not know the launcher's options.
    #[error("its options are not known")]
    Launcher,
    /// An option is not in the launcher's table.
    #[error("option {} is not known", .0.display())]
    UnknownOption(OsString),
    /// The command line ends where an option's argument should be.
    #[error("option {} lacks its argument", .0.display())]
    MissingArgument(OsString),
    /// The table says that this option cannot be carried into the staging step.
    #[error("option {} {reason}", option.display())]
    Refused {
        /// The option as the user wrote it.
        option: OsString,
        /// What the option does; completes "option --x …".
        reason: &'static str,
    },
    /// An option that decides which nodes get ranks follows a ':'.
    #[error("option {} after a ':' is not understood", .0.display())]
    PlacementAfterColon(OsString),
    /// The launcher's command has a form that pyshm does not handle; a whole sentence.
    #[error("{0}")]
    Form(&'static str),
    /// A list of nodes is written in a way that pyshm does not know.
    #[error("node list {0} is not understood")]
    NodeList(String),
    /// A host file, or a resource manager's list of nodes, cannot be read.
    #[error("host file {} cannot be read: {source}", path.display())]
    HostFile {
        /// The file.
        path: PathBuf,
        /// The failed system call's error.
        source: io::Error,
    },
    /// The job's nodes are those of a resource manager whose variables pyshm does not read.
    #[error("the resource manager that sets {0} is not understood")]
    ResourceManager(&'static str),
}
