//! Bundles that pyshm did not make: tars by GNU tar, bsdtar, Python, conda-pack and the like, compressed or not.
//!
//! They have no manifest: their members come in the stream's order and nothing is known before it comes. What they
//! lack is said by who names them, the prefix ([`placement`]), or made up ([`catalog`]). What a header says is believed
//! in no respect: [`members`] only takes well-formed ones, and [`catalog`] only what lies in directories of the archive
//! itself, so that nothing is written outside the prefix or through a link.
//!
//! Reasons are a sentence's end, "bundle X is refused: …".
#![forbid(unsafe_code)]

pub mod catalog;
pub mod compression;
pub mod members;
mod pax;
pub mod placement;
mod sparse;
pub mod walk;

pub use compression::Compression;
pub use placement::Placement;

/// A member's or another name for messages, on one line whatever bytes it has.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    const MOST: usize = 200;
    let text: String = String::from_utf8_lossy(name)
        .chars()
        .flat_map(|c| {
            let escaped: Box<dyn Iterator<Item = char>> = if c.is_control() {
                Box::new(c.escape_default())
            } else {
                Box::new(std::iter::once(c))
            };
            escaped
        })
        .collect();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], name.len()),
        None => text,
    }
}
