//! Kinds of differences that are known.

use std::path::Path;

use crate::program::User;
use crate::state::State;

/// Which kinds the generator may meet.
#[derive(Debug, Clone)]
pub struct Kinds {
    pub all: bool,
}

impl Kinds {
    pub fn allow_line(&self, _line: &str, _user: User, _packer: User) -> bool {
        true
    }

    pub fn allow_step(&self, _root: &Path, _state: &State, _step: &str) -> bool {
        true
    }
}
