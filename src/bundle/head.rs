//! Encodes and decodes the head of a bundle: its first bytes, of fixed length, which say where the manifest is.
//!
//! The payload is `PYSHMBN1`, the version as `u32`, zero as `u32`, the packed and the raw length of frame 0 as `u64`
//! each, and blake3 of the packed frame 0; integers are little-endian. A `.tar.zst` has the payload in a skippable
//! frame (RFC 8878, section 3.1.2), a `.tar.gz` in the extra field `PY` of an empty member (RFC 1952, section 2.3.1.1).
#![forbid(unsafe_code)]

use crate::bundle::error::BundleError;
use crate::manifest::frame::Codec;

const MAGIC: [u8; 8] = *b"PYSHMBN1";
const VERSION: u32 = 1;
const PAYLOAD_BYTES: usize = 64;
const SKIPPABLE: u32 = 0x184D_2A5E;
/// The header of a gzip member with an extra field, an unknown system and no time.
const GZIP_START: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// An empty deflate stream, its checksum and length.
const GZIP_END: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The largest number of bytes that a head has.
pub const MAX_BYTES: usize = 128;
/// The largest manifest, unpacked or packed, in bytes.
const MAX_MANIFEST: u64 = 1 << 30;

/// The place of the manifest in the file, and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How the frames are compressed.
    pub codec: Codec,
    /// Bytes of frame 0 in the file.
    pub packed: u64,
    /// Bytes of frame 0 in the tar stream.
    pub raw: u64,
    /// blake3 of frame 0 in the file.
    pub digest: [u8; 32],
}

impl Head {
    /// Returns the length in bytes of a head for this codec. Frame 0 follows the head.
    #[must_use]
    pub fn len(codec: Codec) -> usize {
        match codec {
            Codec::Zstd => 8 + PAYLOAD_BYTES,
            Codec::Gzip => GZIP_START.len() + 6 + PAYLOAD_BYTES + GZIP_END.len(),
        }
    }

    /// Encodes the head.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut payload = MAGIC.to_vec();
        payload.extend_from_slice(&VERSION.to_le_bytes());
        payload.extend_from_slice(&0u32.to_le_bytes());
        payload.extend_from_slice(&self.packed.to_le_bytes());
        payload.extend_from_slice(&self.raw.to_le_bytes());
        payload.extend_from_slice(&self.digest);
        match self.codec {
            Codec::Zstd => {
                let size = PAYLOAD_BYTES as u32;
                [&SKIPPABLE.to_le_bytes()[..], &size.to_le_bytes(), &payload].concat()
            }
            Codec::Gzip => {
                let size = PAYLOAD_BYTES as u16;
                let (field, extra) = (size.to_le_bytes(), (size + 4).to_le_bytes());
                [&GZIP_START[..], &extra, b"PY", &field, &payload, &GZIP_END].concat()
            }
        }
    }

    /// Whether a file that begins with `bytes` was made by pyshm.
    #[must_use]
    pub fn is_head(bytes: &[u8]) -> bool {
        match bytes {
            [0x5e, 0x2a, 0x4d, 0x18, size @ ..] => {
                size.starts_with(&(PAYLOAD_BYTES as u32).to_le_bytes())
            }
            [0x1f, 0x8b, 8, 4, ..] => bytes.get(12..14) == Some(b"PY"),
            _ => false,
        }
    }

    /// Decodes the head from the first bytes of a file.
    ///
    /// # Errors
    /// The reason why the file is not a bundle.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let (codec, at) = match bytes {
            [0x5e, 0x2a, 0x4d, 0x18, ..] => (Codec::Zstd, 8),
            [0x1f, 0x8b, 8, 4, ..] if bytes.get(12..14) == Some(b"PY") => (Codec::Gzip, 16),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x1f, 0x8b, ..] => {
                return Err(BundleError::CompressedWithoutHead);
            }
            [] => return Err(BundleError::Empty),
            _ => return Err(BundleError::NotATar),
        };
        let payload = bytes.get(at..at + PAYLOAD_BYTES).ok_or(BundleError::Truncated)?;
        let number =
            |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap_or_default());
        if payload[..8] != MAGIC {
            return Err(BundleError::ForeignHead);
        }
        let version = number(8) & 0xffff_ffff;
        if version != u64::from(VERSION) {
            return Err(BundleError::UnknownVersion(version));
        }
        let digest = payload[32..].try_into().map_err(|_| BundleError::Truncated)?;
        let head = Self { codec, packed: number(16), raw: number(24), digest };
        if head.raw > MAX_MANIFEST || head.packed > MAX_MANIFEST {
            return Err(BundleError::LargeManifest(head.raw.max(head.packed)));
        }
        Ok(head)
    }
}
