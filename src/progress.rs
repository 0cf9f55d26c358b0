//! Progress bars for long work, on a terminal only.
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
