//! Packs and reads bundles: one or more prefixes as a compressed tar whose frames a node can unpack in any order.
//!
//! ```text
//! head         64 bytes of payload in a skippable zstd frame, or in the extra field of an empty gzip member
//! frame 0      the tar member ".pyshm/manifest"
//! frame 1 …    the other members of the tar, cut into frames, each of which can be decompressed alone
//! ```
//!
//! `tar` sees an ordinary `.tar.zst` or `.tar.gz` whose members are the original absolute paths without the leading
//! slash. pyshm reads only the [`crate::manifest::Manifest`]: where each file's data starts in the tar, what each frame
//! covers, and the frame's digest. Any number of threads can therefore decode, check and write frames in any order, and
//! no tar header has to be trusted.
#![forbid(unsafe_code)]

mod error;
mod frame_writer;
pub mod head;
mod named;
mod pack;
mod pack_layer;
pub(crate) mod reader;
mod settle;
mod size;
mod tar_writer;
mod unfinished;

pub use error::BundleError;
pub use named::{Named, NamedBundles};
pub use pack::{PackOptions, PackReport, PrefixSpec, pack, pack_over};
pub use reader::{Content, Reader};
pub use size::Size;
