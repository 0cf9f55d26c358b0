//! What a call changes: the file that its path names, and the name.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::ffi::{c_char, c_int};

use crate::decide::view::Follow;
use crate::stage::mapped::Stage;

/// The effect of a call on the file that its path names, and on the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// The data or the attributes of the file change.
    Same,
    /// The attributes change. If the path is a directory, the files below it may become unreachable.
    Search,
    /// The file is opened for writing. Its data changes later, by the descriptor.
    Opened {
        /// The file is made if it does not exist.
        makes: bool,
        /// The file is truncated.
        cuts: bool,
    },
    /// The name is added.
    Added,
    /// The name is removed.
    Removed,
    /// The name is removed, and its file gets another name.
    MovedAway,
    /// A file that had another name gets this name, in the place of a file that had it.
    MovedHere,
    /// The name changes places with another one.
    Exchanged,
}

impl Names {
    /// Whether the names in the parent directory change, for a name that the index has.
    pub fn change(self) -> bool {
        !matches!(self, Self::Same | Self::Search | Self::Opened { .. })
    }

    /// Whether the files below the path, if it is a directory, can no longer be reached by this path.
    pub fn hide_subtree(self) -> bool {
        matches!(self, Self::Search | Self::MovedAway | Self::MovedHere | Self::Exchanged)
    }
}

/// How a rename finds out which file of a prefix has the new name, if the path is spelled outside every prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewName {
    /// By the directory that the path names.
    ByPath,
    /// By a descriptor of what is renamed, after the call.
    ByDescriptor,
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
    /// How the new name of a rename is found.
    pub new_name: &'a Cell<NewName>,
}
