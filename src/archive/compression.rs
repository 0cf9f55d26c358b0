//! Recognises an archive's compression by its first bytes, and decompresses it.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Read};

use serde::{Deserialize, Serialize};

use crate::archive::error::ArchiveError;
use crate::archive::header::{BLOCK, is_header};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames, possibly with skippable frames.
    Zstd,
}

impl Compression {
    /// Recognises the compression by the first bytes of a file; `start` has at least the size of a tar header.
    ///
    /// # Errors
    /// The format that the file has instead.
    pub fn of(start: &[u8]) -> Result<Self, ArchiveError> {
        let other = |what| Err(ArchiveError::Unsupported(what));
        match start {
            [] => Err(ArchiveError::Empty),
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => other("compressed by bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => other("compressed by xz"),
            [0x04, 0x22, 0x4d, 0x18, ..] => other("compressed by lz4"),
            [0x5d, 0, 0, ..] => other("compressed by lzma"),
            [b'P', b'K', 3, 4, ..] => other("a zip file"),
            _ if start.first_chunk::<BLOCK>().is_some_and(is_header) => Ok(Self::None),
            _ => Err(ArchiveError::NotATar),
        }
    }

    /// Returns a reader of the tar's bytes.
    ///
    /// # Errors
    /// When there is no memory for the decoder.
    pub fn decoder<'a>(self, input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(input),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        })
    }
}
