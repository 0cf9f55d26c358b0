//! Exit codes of `pyshm` and `pyshm-run`; the numbers of the system's `sysexits.h` where it has one.
//!
//! A command that was started keeps its own code. One that was ended by a signal ends `pyshm-run` by the same signal.

/// Everything worked.
pub const OK: u8 = 0;
/// The command line is wrong (clap's own code).
pub const USAGE: u8 = 2;
/// A bundle is damaged, truncated, or refused for what is in it (`EX_DATAERR`).
pub const BAD_BUNDLE: u8 = 65;
/// A bundle, prefix or stage that was named does not exist or cannot be read (`EX_NOINPUT`).
pub const NO_INPUT: u8 = 66;
/// The launcher, MPI or its helper is missing or failed (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// The system refused something that should work (`EX_OSERR`).
pub const SYSTEM: u8 = 71;
/// A file or stage cannot be written: no space, no permission (`EX_CANTCREAT`).
pub const CANNOT_WRITE: u8 = 73;
/// Try again: the prefix changed while it was packed, or the stage is busy (`EX_TEMPFAIL`).
pub const TRY_AGAIN: u8 = 75;
/// The command was found but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;
