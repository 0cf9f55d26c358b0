//! A bundle: one or more prefixes as a compressed tar that a node can unpack from any point of its stream.
//!
//! ```text
//! head         HEAD_BYTES of payload in a skippable zstd frame, or in the extra field of an empty gzip member
//! frame 0      the tar member ".pyshm/manifest"
//! frame 1 …    the rest of the tar, cut where it is convenient; each frame decompresses on its own
//! ```
//!
//! To `tar` it is an ordinary `.tar.zst` or `.tar.gz` whose members are the original absolute paths without the
//! leading slash. To pyshm the [`crate::manifest::Manifest`] says everything: where each file's data starts in the tar, what each
//! frame covers, and the digest of every frame, so that frames are decoded, checked and written in any order by
//! any number of threads, and no tar header has to be believed.
#![forbid(unsafe_code)]

pub mod head;

pub mod named;
mod pack;
mod pack_layer;
pub(crate) mod reader;

pub use crate::bundle::named::{Named, NamedBundles};
pub use crate::bundle::pack::{PackOptions, PackReport, PrefixSpec, pack, pack_over};
pub use crate::bundle::reader::{Content, Reader};
