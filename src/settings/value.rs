//! What a setting may be, and how people write it.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::Path;

/// The form of a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A directory's absolute path.
    Directory,
    /// A whole number of seconds.
    Seconds,
    /// A size in bytes, see [`size`].
    Size,
    /// A size that is broadcast at once, see [`chunk`].
    Chunk,
    /// A whole number.
    Number,
    /// Yes or no.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
}

impl Form {
    /// Whether `text` has this form.
    ///
    /// # Errors
    /// What is wrong with it and how it is written, to stand behind "which".
    pub fn check(self, text: &OsStr) -> Result<(), String> {
        let utf8 = text.to_str().unwrap_or_default().trim();
        let is_right = match self {
            Self::Directory => Path::new(text).is_absolute(),
            Self::Seconds | Self::Number => utf8.parse::<u32>().is_ok(),
            Self::Size => size(utf8).is_ok(),
            Self::Chunk => chunk(utf8).is_ok(),
            Self::Flag => matches!(utf8, "true" | "false"),
            Self::Word(words) => words.contains(&utf8),
        };
        if is_right { Ok(()) } else { Err(format!("is no {}", self.expected())) }
    }

    /// What it should be, and an example.
    fn expected(self) -> String {
        match self {
            Self::Directory => "absolute path: write it from / on".into(),
            Self::Seconds => "number of seconds: write it as 300".into(),
            Self::Number => "whole number: write it as 4".into(),
            Self::Size => "size: write it as 500M or 20GB".into(),
            Self::Chunk => "size between 64KiB and 64MiB: write it as 4MiB".into(),
            Self::Flag => "yes or no: write it as true or false".into(),
            Self::Word(words) => {
                format!("word that is known here: write one of {}", words.join(", "))
            }
        }
    }
}

/// A size: bytes, or with `k`, `M`, `G`, `T` behind the number and an optional `B`; `Ki`, `Mi` … are powers of 1024.
///
/// # Errors
/// What it should look like.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is no size: write it as 500M or 20GB");
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
        _ => return Err(bad()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| bad())?;
    if !(number.is_finite() && number >= 0.0) {
        return Err(bad());
    }
    Ok((number * base.pow(power) as f64) as u64)
}

/// `--chunk`: bytes that are broadcast at once.
///
/// # Errors
/// Why it cannot be.
pub fn chunk(text: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        Ok(size) if (64 << 10..=64 << 20).contains(&size) => Ok(size),
        _ => Err("it must be between 64KiB and 64MiB".into()),
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
    fn what_is_wrong_is_said_with_an_example() {
        let said = |form: Form, text: &str| form.check(OsStr::new(text)).unwrap_err();
        assert_eq!(said(Form::Directory, "shm"), "is no absolute path: write it from / on");
        assert!(said(Form::Seconds, "5 min").contains("300"));
        assert!(said(Form::Word(&["shim", "env"]), "on").contains("shim, env"));
        assert!(Form::Flag.check(OsStr::new("true")).is_ok());
    }
}
