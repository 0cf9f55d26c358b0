//! Hooks the functions of the dynamic loader.
//!
//! Rooms, from the highest to the lowest:
//!
//! ```text
//! dlopen        loads a library from the stage
//! deepbind      libraries that look for their symbols in themselves first
//! caller_path   where the loader searches for the object that calls
//! namespaces    namespaces of their own, each with a copy of this library
//! loaded        which loaded library is the same file
//! backtrace     backtrace_symbols
//! real          the real dlopen and dlmopen
//! names         the original names of libraries
//! glob_version  which version of glob a program was linked with
//! ```

pub mod backtrace;
pub mod caller_path;
pub mod deepbind;
pub mod dlopen;
pub mod glob_version;
pub mod loaded;
pub mod names;
pub mod namespaces;
pub mod real;
