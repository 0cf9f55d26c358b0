//! Puts the stage's trampoline before each program of a command. The trampoline is the program that enters the stage.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;

use pyshm_format::layout;

use crate::run::cli::{Cli, Reroute};

/// Returns the words of COMMAND with the trampoline of `stage` before each program. `programs` has the programs'
/// positions.
#[must_use]
pub fn insert(cli: &Cli, programs: &[usize], stage: &Path) -> Vec<OsString> {
    let trampoline = stage.join(layout::TRAMPOLINE);
    let mut words = Vec::with_capacity(cli.command.len() + 2);
    for (i, word) in cli.command.iter().enumerate() {
        if programs.contains(&i) {
            words.push(trampoline.clone().into_os_string());
            if cli.reroute == Reroute::Env {
                words.push("--env".into());
            }
        }
        words.push(word.clone());
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_trampoline_stands_before_the_program() {
        let cli = |words: &[&str]| Cli::try_parse_from([&["pyshm-run"], words].concat()).unwrap();
        let stage = Path::new("/dev/shm/s");
        let words = insert(&cli(&["mpiexec", "-n", "2", "python", "a"]), &[3], stage);
        assert_eq!(words, ["mpiexec", "-n", "2", "/dev/shm/s/bin/pyshm-exec", "python", "a"]);
        let words = insert(&cli(&["--reroute", "env", "python", "a"]), &[0], stage);
        assert_eq!(words, ["/dev/shm/s/bin/pyshm-exec", "--env", "python", "a"]);
    }
}
