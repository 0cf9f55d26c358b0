//! Shows the progress of long work by bars, on a terminal only.
#![forbid(unsafe_code)]

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Whether long work shows its progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Progress {
    /// On a terminal.
    #[default]
    Shown,
    /// Never.
    Hidden,
}

impl Progress {
    /// Returns `Hidden` if `quiet`, the option `--quiet`, was given.
    #[must_use]
    pub fn unless(quiet: bool) -> Self {
        if quiet { Self::Hidden } else { Self::Shown }
    }

    /// Makes a bar on standard error that counts to `total` bytes; the text `what` precedes the bar.
    #[must_use]
    pub fn byte_bar(self, what: &str, total: u64) -> ProgressBar {
        if self == Self::Hidden || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}";
        let style =
            ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(total).with_style(style).with_message(what.to_string())
    }
}
