//! How an archive is compressed, by its first bytes, and what decompresses it.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Read};

use serde::{Deserialize, Serialize};

/// What can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// A plain tar.
    None,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames, skippable ones among them.
    Zstd,
}

impl Compression {
    /// Looks at the first bytes of a file, a tar's first header at least.
    ///
    /// # Errors
    /// What it is instead.
    pub fn of(start: &[u8]) -> Result<Self, String> {
        let other = |what: &str| {
            Err(format!(
                "it is {what}: only tars that are plain or compressed by gzip or zstd can be staged"
            ))
        };
        match start {
            [] => Err("it is empty".into()),
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => other("compressed by bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => other("compressed by xz"),
            [0x04, 0x22, 0x4d, 0x18, ..] => other("compressed by lz4"),
            [0x5d, 0, 0, ..] => other("compressed by lzma"),
            [b'P', b'K', 3, 4, ..] => other("a zip file"),
            _ => match start.first_chunk::<512>() {
                Some(block) if crate::archive::members::is_header(block) => Ok(Self::None),
                _ => Err("it is not a tar, compressed or not".into()),
            },
        }
    }

    /// The tar's bytes.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn decoder<'a>(self, input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(input),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        })
    }
}

/// What it means that the archive's bytes could not be read.
#[must_use]
pub fn unreadable(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::UnexpectedEof => "it is truncated: copy or make it anew".into(),
        _ if cause.to_string().contains("too much memory") => {
            "it is compressed with a window of more than 128 MB: compress it without --long".into()
        }
        _ => format!(
            "it is damaged, or something stands behind its end ({cause}): copy or make it anew"
        ),
    }
}
