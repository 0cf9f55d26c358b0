//! What people see while something long is done: a bar on a terminal, nothing elsewhere.
#![forbid(unsafe_code)]

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts bytes on standard error, hidden where that is not a terminal.
///
/// `total` is in bytes; `what` stands in front of the bar.
#[must_use]
pub fn byte_bar(what: &str, total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_message(what.to_string())
}

/// The same, hidden where nothing shall be shown.
#[must_use]
pub fn byte_bar_unless(quiet: bool, what: &str, total: u64) -> ProgressBar {
    if quiet { ProgressBar::hidden() } else { byte_bar(what, total) }
}

/// `n` bytes for people: `615.2 MB`, in powers of 1000.
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
    fn sizes_read_as_people_write_them() {
        assert_eq!(super::bytes(999), "999 B");
        assert_eq!(super::bytes(1000), "1.0 kB");
        assert_eq!(super::bytes(999_999), "1.0 MB");
        assert_eq!(super::bytes(615_200_000), "615.2 MB");
    }
}
