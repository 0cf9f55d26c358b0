//! Defines the exit codes of `pyshm` and `pyshm-run`. They are the codes of `sysexits.h`, where that file has one for
//! the case.
//!
//! `pyshm-run` exits with the code of the command that it ran. If a signal ended the command, the same signal ends
//! `pyshm-run`.

/// All work succeeded.
pub const OK: u8 = 0;
/// The command line or a setting is wrong (clap's own code).
pub const USAGE: u8 = 2;
/// A bundle is damaged or truncated, or its contents are refused (`EX_DATAERR`).
pub const BAD_BUNDLE: u8 = 65;
/// A bundle, prefix or stage that the user named does not exist or cannot be read (`EX_NOINPUT`).
pub const NO_INPUT: u8 = 66;
/// The launcher, MPI or its helper is missing or failed (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// A system call failed unexpectedly (`EX_OSERR`).
pub const SYSTEM: u8 = 71;
/// A file or stage cannot be written, for lack of space or permission (`EX_CANTCREAT`).
pub const CANNOT_WRITE: u8 = 73;
/// A second attempt may succeed: the prefix changed while it was packed, or the stage is busy (`EX_TEMPFAIL`).
pub const TRY_AGAIN: u8 = 75;
/// The command was found but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;
