//! Room for paths on the stack: 8 KB that only a walk through symbolic links needs.
#![forbid(unsafe_code)]

use crate::base::text::put;

/// Longest path the kernel takes, its NUL included.
pub const PATH_MAX: usize = 4096;

/// Room for a path on its way through symbolic links.
#[derive(Debug)]
pub struct Scratch {
    /// The path resolved so far.
    pub out: [u8; PATH_MAX],
    /// What is still to come, at the end.
    pub rest: [u8; PATH_MAX],
}

impl Scratch {
    /// Zeroed.
    pub fn new() -> Self {
        Self { out: [0; PATH_MAX], rest: [0; PATH_MAX] }
    }

    /// The path of a [`Decision::PassAs`] or of [`Walked`], a NUL behind it.
    pub fn path(&self, len: usize) -> &[u8] {
        self.out.get(..len).unwrap_or(&[])
    }

    /// Puts a path in, with a NUL behind it.
    pub fn set(&mut self, path: &[u8]) -> Option<()> {
        let end = put(&mut self.out, 0, path)?;
        *self.out.get_mut(end)? = 0;
        Some(())
    }

    /// The same with its NUL.
    pub fn path_nul(&self, len: usize) -> &[u8] {
        self.out.get(..=len).unwrap_or(&[0])
    }
}
