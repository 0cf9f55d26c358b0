//! Cuts the tar stream into frames, and compresses and decompresses each of them.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// Once a frame is larger than this size in bytes, it ends at the end of an entry, so that small files stay whole.
pub const TARGET_RAW: usize = 4 << 20;
/// A frame ends within an entry's data at this size in bytes, which bounds the memory of every decoder.
pub const MAX_RAW: usize = 8 << 20;
/// The largest compressed frame, in bytes.
pub const MAX_PACKED: usize = MAX_RAW + (1 << 20);

/// A frame as the manifest records it: a piece of the compressed stream that can be decompressed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// Bytes in the bundle.
    pub packed: u32,
    /// Bytes of the tar stream.
    pub raw: u32,
    /// blake3 of those bytes of the tar stream.
    pub digest: [u8; 32],
}

/// How frames are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// Each frame is a zstd frame.
    Zstd,
    /// Each frame is a gzip member.
    Gzip,
}

impl Codec {
    /// Compresses `raw` as one frame; `level` is one of [`Codec::levels`].
    ///
    /// # Errors
    /// The errors of the compressor. None is expected, because the compressor works in memory.
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

    /// The compression levels of the codec.
    #[must_use]
    pub fn levels(self) -> std::ops::RangeInclusive<i32> {
        match self {
            Self::Zstd => 1..=22,
            Self::Gzip => 0..=9,
        }
    }

    /// The compression level of bundles, unless the user chooses another.
    #[must_use]
    pub fn default_level(self) -> i32 {
        match self {
            Self::Zstd => 3,
            Self::Gzip => 6,
        }
    }
}

/// Decompresses one frame after another into the same buffer.
pub struct Decoder {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    raw: Vec<u8>,
}

impl Decoder {
    /// Makes a decoder for frames of `codec`.
    ///
    /// # Errors
    /// When there is no memory for the decoder.
    pub fn new(codec: Codec) -> io::Result<Self> {
        let zstd = match codec {
            Codec::Zstd => Some(zstd::bulk::Decompressor::new()?),
            Codec::Gzip => None,
        };
        // The buffer gets its full size here, because growing it would copy and fragment memory. Pages that no frame
        // needs are never touched.
        Ok(Self { zstd, raw: Vec::with_capacity(MAX_RAW) })
    }

    /// Decompresses `packed`, one whole frame, into exactly `raw_len` bytes.
    ///
    /// # Errors
    /// When `packed` is not a frame of this codec, is damaged, or holds another number of bytes.
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
            let text = "a frame does not hold as many bytes as the manifest says";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(&self.raw)
    }
}

/// Cuts a stream into frames and passes each to `emit`.
pub struct Cutter<F: FnMut(Vec<u8>) -> io::Result<()>> {
    frame: Vec<u8>,
    position: u64,
    emit: F,
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Cutter<F> {
    /// Starts an empty stream.
    pub fn new(emit: F) -> Self {
        Self { frame: Vec::with_capacity(MAX_RAW), position: 0, emit }
    }

    /// Bytes written to the stream so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Marks the end of an entry, where the stream may be cut.
    ///
    /// # Errors
    /// Those of `emit`.
    pub fn entry_ends(&mut self) -> io::Result<()> {
        if self.frame.len() >= TARGET_RAW { self.cut() } else { Ok(()) }
    }

    /// Emits what is left as the last frame.
    ///
    /// # Errors
    /// Those of `emit`.
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
