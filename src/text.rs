//! Names and numbers as messages show them.
#![forbid(unsafe_code)]

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
