//! Prints values as JSON.
#![forbid(unsafe_code)]

use serde::Serialize;

use crate::error::{Error, Result};

/// Prints `value` as JSON to standard output.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| Error::system("write JSON")(e.into()))?;
    print_line!("{text}");
    Ok(())
}
