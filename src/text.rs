//! Formats names and numbers for messages.
#![forbid(unsafe_code)]

/// Shows a name of any bytes in one line: control characters are escaped, and long names are cut.
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

/// Shows a number of bytes with a unit that is a power of 1000: `615.2 MB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_in_powers_of_1000() {
        assert_eq!(super::bytes(999), "999 B");
        assert_eq!(super::bytes(1000), "1.0 kB");
        assert_eq!(super::bytes(999_999), "1.0 MB");
        assert_eq!(super::bytes(615_200_000), "615.2 MB");
    }
}
