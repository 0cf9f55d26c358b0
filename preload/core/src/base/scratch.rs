//! Holds the two buffers in which a path is resolved through symbolic links. They take 8 KB of stack, so only a
//! function that resolves a path has them.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::base::text::put;

/// Length in bytes of the longest path that the kernel takes, with its NUL.
pub const PATH_MAX: usize = 4096;

/// Two buffers of a path's length.
#[derive(Debug)]
pub struct Scratch {
    /// The path resolved so far.
    pub out: [u8; PATH_MAX],
    /// The part that is still to be resolved, at the end of the buffer.
    pub rest: [u8; PATH_MAX],
}

impl Scratch {
    /// Zeroed buffers.
    pub fn zeroed() -> Self {
        Self { out: [0; PATH_MAX], rest: [0; PATH_MAX] }
    }

    /// The first `len` bytes of the resolved path.
    pub fn path(&self, len: usize) -> &[u8] {
        self.out.get(..len).unwrap_or(&[])
    }

    /// The first `len` bytes of the resolved path and the NUL behind them.
    pub fn path_nul(&self, len: usize) -> &[u8] {
        self.out.get(..=len).unwrap_or(&[0])
    }

    /// Copies `path` into the first buffer as a C string. `None` if the path is too long or contains a NUL.
    pub fn c_str(&mut self, path: &[u8]) -> Option<&CStr> {
        let end = put(&mut self.out, 0, path)?;
        *self.out.get_mut(end)? = 0;
        CStr::from_bytes_with_nul(self.path_nul(path.len())).ok()
    }
}
