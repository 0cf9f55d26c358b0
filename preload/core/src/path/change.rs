//! Describes what a call changes: the file that the call's path names, or the name itself.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::ffi::{c_char, c_int};

use crate::decide::view::Follow;
use crate::stage::mapped::Stage;

/// The effect of a call on the file that the call's path names, and on the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// The data or the attributes of the file change.
    Same,
    /// The attributes change. If the path is a directory, the files below it may become unreachable.
    Search,
    /// The file is opened for writing. The file's data changes later, through the descriptor.
    Opened {
        /// The call makes the file if the file does not exist.
        makes: bool,
        /// The call truncates the file.
        cuts: bool,
    },
    /// The name is added.
    Added,
    /// The name is removed.
    Removed,
    /// The file moves from this name to another name.
    MovedAway,
    /// A file moves from another name to this name, and replaces the file that had this name.
    MovedHere,
    /// The file of this name and the file of another name are exchanged.
    Exchanged,
}

impl Names {
    /// Whether the call changes the list of names of the parent directory. Only asked for a name that the index has.
    pub fn changes_listing(self) -> bool {
        !matches!(self, Self::Same | Self::Search | Self::Opened { .. })
    }

    /// Whether the call makes the files below the path unreachable by this path, if the path is a directory.
    pub fn hides_subtree(self) -> bool {
        matches!(self, Self::Search | Self::MovedAway | Self::MovedHere | Self::Exchanged)
    }
}

/// The result of a libc function.
pub trait Outcome {
    /// Whether the call has succeeded.
    fn succeeded(&self) -> bool;
}

impl Outcome for () {
    fn succeeded(&self) -> bool {
        true
    }
}

impl Outcome for c_int {
    fn succeeded(&self) -> bool {
        *self >= 0
    }
}

impl<T> Outcome for *mut T {
    fn succeeded(&self) -> bool {
        !self.is_null()
    }
}

/// A directory and a path for the real function.
pub type At = (c_int, *const c_char);

/// A call that changes something.
pub struct Change<'a> {
    /// The stage.
    pub stage: &'a Stage,
    /// What the call does.
    pub names: Names,
    /// Whether the call follows a symbolic link at the end of its path.
    pub follow: Follow,
    /// Whether the call has succeeded; false before the call.
    pub succeeded: &'a Cell<bool>,
}
