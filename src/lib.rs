//! Holds the tools of pyshm. The tools pack bundles ([`bundle`]), cache bundles ([`cache`]), unpack bundles into stages
//! on the nodes ([`stage`], over MPI `bcast`), and run a job's command ([`run`]).
//!
//! This code runs in pyshm's own processes. The code that runs inside a job's ranks is the `preload` package.

/// Prints a line to standard output; unlike `println!` it does not panic when standard output is closed.
macro_rules! print_line {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

/// Prints a line to standard error; unlike `eprintln!` it does not panic when standard error is closed.
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
