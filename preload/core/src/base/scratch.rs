//! Holds the two buffers in which a path is resolved through symbolic links.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::base::buffer::Buffer;
use crate::base::text::put;

/// Two buffers of a path's length.
#[derive(Debug)]
pub struct Scratch {
    /// The path resolved so far.
    pub out: Buffer,
    /// The part that is still to be resolved, at the end of the buffer.
    pub rest: Buffer,
}

impl Scratch {
    /// Zeroed buffers.
    pub fn zeroed() -> Self {
        Self { out: Buffer::zeroed(), rest: Buffer::zeroed() }
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
