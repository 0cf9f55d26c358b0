//! The tools of pyshm make bundles ([`bundle`]), keep them ([`cache`]), deliver them to nodes as stages ([`stage`]), over MPI
//! where there are several nodes (`bcast`), and run a job's command with them ([`run`]).
//!
//! This code runs in pyshm's own processes, never in the user's: the code inside a job's ranks is the `preload` package.

/// Prints a line to standard output; unlike `println!` it does not panic where nobody reads it.
macro_rules! print_line {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

/// Prints a line to standard error; unlike `eprintln!` it does not panic where nobody reads it.
macro_rules! warn_line {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

pub mod archive;
#[cfg(feature = "mpi")]
pub mod bcast;
pub mod bundle;
pub mod cache;
pub mod cli;
pub mod doctor;
pub mod error;
pub mod exit_codes;
pub mod install;
pub mod instrument;
pub mod launchers;
pub mod manifest;
pub mod process;
pub mod program;
pub mod progress;
pub mod protocol;
pub mod run;
pub mod settings;
pub mod stage;
pub mod text;
pub mod verify;
