//! Passes the bytes of a bundle from the thread that reads or receives them to the one that unpacks them.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::mpsc;

use crate::error::{Error, Result};

/// The bytes of a bundle as they arrive.
pub(super) struct Stream<'a> {
    pub bundle: &'a Path,
    chunks: mpsc::Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    /// Bytes in chunks that were not received yet.
    left: u64,
}

impl<'a> Stream<'a> {
    /// Returns a stream of the `length` bytes of `bundle` that arrive in `chunks`.
    pub fn new(bundle: &'a Path, chunks: mpsc::Receiver<Vec<u8>>, length: u64) -> Self {
        Self { bundle, chunks, chunk: Vec::new(), at: 0, left: length }
    }

    /// Appends the next `wanted` bytes to `to`.
    ///
    /// # Errors
    /// [`Error::BadBundle`] when the stream ends early.
    pub fn append(&mut self, to: &mut Vec<u8>, mut wanted: usize) -> Result<()> {
        to.reserve_exact(wanted);
        while wanted > 0 {
            if self.at == self.chunk.len() {
                self.receive()?;
            }
            let taken = wanted.min(self.chunk.len() - self.at);
            to.extend_from_slice(&self.chunk[self.at..self.at + taken]);
            self.at += taken;
            wanted -= taken;
        }
        Ok(())
    }

    /// Bytes of the whole bundle. Valid only before anything is read.
    pub fn length(&self) -> u64 {
        self.left
    }

    fn receive(&mut self) -> Result<()> {
        // The old chunk is freed before the wait for the next one, since a chunk takes much memory.
        (self.chunk, self.at) = (Vec::new(), 0);
        let ended = |_| Error::bundle(self.bundle, "it ended early: its reader stopped");
        self.chunk = self.chunks.recv().map_err(ended)?;
        self.left = self.left.saturating_sub(self.chunk.len() as u64);
        Ok(())
    }
}

/// Reads a foreign tar up to its end, since a foreign tar has no list of frames.
impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len() && self.left > 0 {
            self.receive().map_err(io::Error::other)?;
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}
