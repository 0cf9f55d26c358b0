//! Defines the exit codes of `pyshm` and `pyshm-run`: those of the system's `sysexits.h` where it has one.
//!
//! Where a command ran, its exit code is `pyshm-run`'s; a signal that ended the command ends `pyshm-run` too.

/// All work succeeded.
pub const OK: u8 = 0;
/// The command line or a setting is wrong (clap's own code).
pub const USAGE: u8 = 2;
/// A bundle is damaged, truncated, or not accepted for its contents (`EX_DATAERR`).
pub const BAD_BUNDLE: u8 = 65;
/// A bundle, prefix or stage that the user named does not exist or cannot be read (`EX_NOINPUT`).
pub const NO_INPUT: u8 = 66;
/// The launcher, MPI or its helper is missing or failed (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// A system call failed that has no reason to (`EX_OSERR`).
pub const SYSTEM: u8 = 71;
/// A file or stage cannot be written, for lack of space or permission (`EX_CANTCREAT`).
pub const CANNOT_WRITE: u8 = 73;
/// A second attempt may succeed: the prefix changed while it was packed, or the stage is busy (`EX_TEMPFAIL`).
pub const TRY_AGAIN: u8 = 75;
/// The command was found but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;
