//! Checks and reads values of settings, as people write them.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

/// The form of a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The absolute path of a directory.
    Directory,
    /// A whole number of seconds.
    Seconds,
    /// A size in bytes, see [`size`].
    Size,
    /// A size that is broadcast in one operation, see [`chunk`].
    Chunk,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// The error of a value that does not have its setting's form. The error's text completes "which is …": it says which
/// form the value does not have, and how to write the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongForm(Form);

impl fmt::Display for WrongForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Form::Directory => "not an absolute path; write it from / on",
            Form::Seconds => "not a number of seconds; write it as 300",
            Form::Number => "not a whole number; write it as 4",
            Form::Size => "not a size; write it as 500M or 20GB",
            Form::Chunk => "not a size between 64KiB and 64MiB; write it as 4MiB",
            Form::Flag => "not a yes or no; write it as true or false",
            Form::Word(words) => {
                return write!(f, "not a known word; write one of {}", words.join(", "));
            }
        })
    }
}

impl std::error::Error for WrongForm {}

impl Form {
    /// Checks that `text` has this form.
    ///
    /// # Errors
    /// [`WrongForm`] when it does not.
    pub fn check(self, text: &OsStr) -> Result<(), WrongForm> {
        let utf8 = text.to_str().unwrap_or_default().trim();
        let is_right = match self {
            Self::Directory => Path::new(text).is_absolute(),
            Self::Seconds | Self::Number => utf8.parse::<u32>().is_ok(),
            Self::Size => size(utf8).is_ok(),
            Self::Chunk => chunk(utf8).is_ok(),
            Self::Flag => matches!(utf8, "true" | "false"),
            Self::Word(words) => words.contains(&utf8),
        };
        if is_right { Ok(()) } else { Err(WrongForm(self)) }
    }
}

/// Reads a variable; `None` where it is unset or empty.
#[must_use]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Reads a size in bytes: a number, with `k`, `M`, `G` or `T` and an optional `B` after it; `Ki`, `Mi` … are powers of
/// 1024.
///
/// # Errors
/// [`WrongForm`] when `text` is not a size.
pub fn size(text: &str) -> Result<u64, WrongForm> {
    let wrong = WrongForm(Form::Size);
    let trimmed = text.trim();
    let trimmed = trimmed.strip_suffix(['B', 'b']).unwrap_or(trimmed);
    let (trimmed, base) = trimmed.strip_suffix('i').map_or((trimmed, 1000u64), |t| (t, 1024));
    let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match trimmed[digits.len()..].to_ascii_lowercase().as_str() {
        "" if base == 1000 => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong),
    };
    let number: f64 = digits.trim().parse().map_err(|_| wrong)?;
    if !(number.is_finite() && number >= 0.0) {
        return Err(wrong);
    }
    Ok((number * base.pow(power) as f64) as u64)
}

/// Reads `--chunk`: bytes that are broadcast in one operation.
///
/// # Errors
/// [`WrongForm`] when `text` is not a size between 64 KiB and 64 MiB.
pub fn chunk(text: &str) -> Result<usize, WrongForm> {
    let wrong = WrongForm(Form::Chunk);
    match usize::try_from(size(text).map_err(|_| wrong)?) {
        Ok(size) if (64 << 10..=64 << 20).contains(&size) => Ok(size),
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("1000", 1000),
            ("20 GB", 20_000_000_000),
            ("1.5k", 1500),
            ("500M", 500_000_000),
            ("4MiB", 4 << 20),
            ("64 Ki", 64 << 10),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["many", "-1", "4i", "", "3QB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(chunk("4MiB"), Ok(4 << 20));
        assert!(chunk("1G").is_err() && chunk("1").is_err());
    }

    #[test]
    fn a_wrong_value_is_reported_with_an_example() {
        let said = |form: Form, text: &str| form.check(OsStr::new(text)).unwrap_err().to_string();
        assert_eq!(said(Form::Directory, "shm"), "not an absolute path; write it from / on");
        assert!(said(Form::Seconds, "5 min").contains("300"));
        assert!(said(Form::Word(&["shim", "env"]), "on").contains("shim, env"));
        assert!(Form::Flag.check(OsStr::new("true")).is_ok());
    }
}
