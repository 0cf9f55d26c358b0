//! Frames: how the tar stream is cut, and how one piece is compressed and decompressed.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// A frame is closed at the end of the entry that takes it over this size, so that small files stay whole.
pub const TARGET_RAW: usize = 4 << 20;
/// A frame is closed within an entry's data at this size: it bounds the memory of every decoder.
pub const MAX_RAW: usize = 8 << 20;
/// No frame is larger than this when compressed.
pub const MAX_PACKED: usize = MAX_RAW + (1 << 20);

/// How frames are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// A zstd frame each.
    Zstd,
    /// A gzip member each.
    Gzip,
}

impl Codec {
    /// Compresses `raw` as one frame at `level` (of the codec).
    ///
    /// # Errors
    /// As the compressor has them; none is expected in memory.
    pub fn compress(self, raw: &[u8], level: i32) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd => zstd::bulk::compress(raw, level),
            Self::Gzip => {
                let level = flate2::Compression::new(level.clamp(0, 9) as u32);
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::with_capacity(raw.len() / 2), level);
                encoder.write_all(raw)?;
                encoder.finish()
            }
        }
    }

    /// Decompresses one whole frame into exactly `raw_len` bytes.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decompress(self, packed: &[u8], raw_len: usize) -> io::Result<Vec<u8>> {
        let mut decoder = Decoder::new(self)?;
        decoder.decode(packed, raw_len)?;
        Ok(decoder.raw)
    }

    /// The levels there are.
    #[must_use]
    pub fn levels(self) -> std::ops::RangeInclusive<i32> {
        match self {
            Self::Zstd => 1..=22,
            Self::Gzip => 0..=9,
        }
    }

    /// The level that bundles are compressed with where none is asked for.
    #[must_use]
    pub fn default_level(self) -> i32 {
        match self {
            Self::Zstd => 3,
            Self::Gzip => 6,
        }
    }
}

/// Decompresses one frame after another into the same memory.
pub struct Decoder {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    raw: Vec<u8>,
}

impl Decoder {
    /// A decoder for frames of `codec`.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(codec: Codec) -> io::Result<Self> {
        let zstd = match codec {
            Codec::Zstd => Some(zstd::bulk::Decompressor::new()?),
            Codec::Gzip => None,
        };
        // All of it at once: growing would copy, and leave holes. It is touched only as far as frames need it.
        Ok(Self { zstd, raw: Vec::with_capacity(MAX_RAW) })
    }

    /// Decompresses `packed`, one whole frame, into exactly `raw_len` bytes.
    ///
    /// # Errors
    /// When it is not a frame of this codec, is damaged, or holds another number of bytes.
    pub fn decode(&mut self, packed: &[u8], raw_len: usize) -> io::Result<&[u8]> {
        self.raw.clear();
        self.raw.reserve_exact(raw_len);
        match &mut self.zstd {
            Some(zstd) => {
                zstd.decompress_to_buffer(packed, &mut self.raw)?;
            }
            None => {
                flate2::read::GzDecoder::new(packed)
                    .take(raw_len as u64 + 1)
                    .read_to_end(&mut self.raw)?;
            }
        }
        if self.raw.len() != raw_len {
            let text = "a frame holds another number of bytes than its manifest says";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(&self.raw)
    }
}

/// Collects a stream and cuts it into frames, each handed to `emit`.
pub struct Cutter<F: FnMut(Vec<u8>) -> io::Result<()>> {
    frame: Vec<u8>,
    position: u64,
    emit: F,
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Cutter<F> {
    /// Starts a stream.
    pub fn new(emit: F) -> Self {
        Self { frame: Vec::with_capacity(MAX_RAW), position: 0, emit }
    }

    /// Bytes of the stream so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Says that an entry ends here: a good place to cut.
    ///
    /// # Errors
    /// As `emit` has them.
    pub fn entry_ends(&mut self) -> io::Result<()> {
        if self.frame.len() >= TARGET_RAW { self.cut() } else { Ok(()) }
    }

    /// Hands over what is left.
    ///
    /// # Errors
    /// As `emit` has them.
    pub fn finish(mut self) -> io::Result<()> {
        if self.frame.is_empty() { Ok(()) } else { self.cut() }
    }

    fn cut(&mut self) -> io::Result<()> {
        (self.emit)(std::mem::replace(&mut self.frame, Vec::with_capacity(MAX_RAW)))
    }
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Write for Cutter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(MAX_RAW - self.frame.len());
        self.frame.extend_from_slice(&bytes[..taken]);
        self.position += taken as u64;
        if self.frame.len() == MAX_RAW {
            self.cut()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
