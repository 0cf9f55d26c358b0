//! Lists the reasons why the shim does nothing in a process.
#![forbid(unsafe_code)]

use pyshm_format::FormatError;

/// Why the shim does nothing. The numbers follow those of the other states in [`crate::stage::current`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Inert {
    /// The program gains privileges. The shim never reports this.
    Privileged = 3,
    /// `PYSHM_DISABLE` is set.
    Disabled,
    /// `PYSHM_STAGE` cannot be a stage's directory.
    Variable,
    /// `PYSHM_STAGE` is not set, and the library does not lie in a stage.
    NoStage,
    /// The stage's directory cannot be opened.
    Gone,
    /// The stage's directory has the wrong owner or mode.
    Foreign,
    /// The index cannot be mapped.
    NoIndex,
    /// The state file cannot be mapped.
    NoState,
    /// The index is truncated or unfinished.
    ShortIndex,
    /// The file is no index.
    OtherFile,
    /// Another pyshm wrote the index.
    OtherVersion,
    /// The index's head is damaged.
    BadIndex,
    /// The state file's header is damaged.
    BadState,
    /// The index was made for another directory.
    Elsewhere,
    /// The process changed its root directory.
    OtherRoot,
    /// The program is a container runtime.
    Container,
    /// The program's C library is not glibc.
    OtherLibc,
}

/// One line for each reason, in the order of [`Inert`]. This is one text, because pointers to many texts would be
/// relocations in every process.
pub const TEXTS: &[u8] = b"the program gains privileges
PYSHM_DISABLE is set
PYSHM_STAGE is no usable absolute path
libpyshm.so does not lie in a stage and PYSHM_STAGE is not set
the stage's directory cannot be opened
the stage's directory belongs to another user, or others may write there
the stage's index is missing, too short or not this user's
the stage's state file is missing, too short or not this user's
the stage's index is truncated
the stage's index was not written by pyshm
another version of pyshm wrote the stage's index
the head of the stage's index is damaged
the header of the stage's state file is damaged
the stage's index was made for another directory
the process changed its root directory
it starts programs in another root file system, and PYSHM_CONTAINERS is not keep
the program's C library is not glibc";

impl From<FormatError> for Inert {
    fn from(e: FormatError) -> Self {
        match e {
            FormatError::Truncated => Self::ShortIndex,
            FormatError::Magic => Self::OtherFile,
            FormatError::Version(_) => Self::OtherVersion,
            FormatError::Damaged => Self::BadIndex,
        }
    }
}
