//! Reads a launcher's command line with a table of the launcher's options: finds the given options, and PROGRAM.
//!
//! Invariants: a word that begins like an option and is not in the table is an error, never a guess. Taking the
//! argument of an unknown option for PROGRAM would replace the wrong word.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::launchers::not_understood::NotUnderstood;

/// How an option of the application's launch is handled in the staging step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// The option decides which nodes get ranks. The step does not get this option: pyshm gives the step its own
    /// options, for one process on each of these nodes.
    Placement,
    /// The option is needed to reach the nodes: it is carried into the step unchanged.
    Carry,
    /// The option concerns the application only: the step does not get it.
    Omit,
    /// The option makes staging impossible. The text says what the option does; it completes "option --x …".
    Refuse(&'static str),
}

/// How many words follow an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// None.
    Flag,
    /// This many, as words of their own, or a single one after `=`.
    Words(u8),
    /// None, but an argument may be attached: `--exclusive=user`, `-K1`.
    Attached,
}

/// A line of a launcher's table of options.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// All spellings without dashes; the first one is [`Given::name`].
    pub names: &'static [&'static str],
    /// What follows the option.
    pub arity: Arity,
    /// How the option is handled in the staging step.
    pub handling: Handling,
}

/// Makes a line of a table.
pub const fn opt(names: &'static [&'static str], arity: Arity, handling: Handling) -> Opt {
    Opt { names, arity, handling }
}

/// How a launcher reads dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dashes {
    /// `-name` and `--name` are the same option (Hydra, Open MPI).
    Any,
    /// In the way of getopt_long(3): `-n4`, `-n 4`, `-lu`, `--name=4`, `--name 4` (srun).
    Getopt,
}

/// An option that was given.
#[derive(Debug, Clone)]
pub struct Given {
    /// The first of the option's names.
    pub name: &'static str,
    /// How the option is handled in the staging step.
    pub handling: Handling,
    /// The option's arguments.
    pub values: Vec<OsString>,
    /// The words that give this option to the staging step.
    pub words: Vec<OsString>,
}

/// A command line, or the part of one between two ':', that was understood.
#[derive(Debug)]
pub struct Parsed {
    /// The options in the order in which they were given.
    pub given: Vec<Given>,
    /// The index of PROGRAM in the command; `None` if there is none (`mpiexec --version`).
    pub program: Option<usize>,
}

impl Parsed {
    /// The last value of the option called `name`.
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.given.iter().rev().find(|g| g.name == name)?.values.first().map(OsString::as_os_str)
    }

    /// The last value of the option called `name`, as a number.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.value(name)?.to_str()?.parse().ok()
    }

    /// Whether the option called `name` was given.
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|g| g.name == name)
    }

    /// The words of all options that are carried into the staging step.
    pub fn carried(&self) -> impl Iterator<Item = &OsString> {
        self.given.iter().filter(|g| g.handling == Handling::Carry).flat_map(|g| &g.words)
    }
}

/// The indices of PROGRAM in the parts of a command.
pub fn programs(parts: &[Parsed]) -> Vec<usize> {
    parts.iter().filter_map(|part| part.program).collect()
}

/// Makes words of a command line.
pub fn os<const N: usize>(words: [&str; N]) -> [OsString; N] {
    words.map(OsString::from)
}

/// Reads `command`, whose first word is the launcher itself, as one or several parts with ':' between them, each with
/// options and a PROGRAM of its own.
///
/// # Errors
/// The errors of [`parse`]. Also an error for a part without PROGRAM, and for a part after a ':' that has an option
/// which decides which nodes get ranks.
pub fn parse_parts(
    command: &[OsString],
    table: &'static [Opt],
    dashes: Dashes,
) -> Result<Vec<Parsed>, NotUnderstood> {
    let (mut parts, mut begin) = (Vec::new(), 1);
    for words in command[1..].split(|word| word == ":") {
        let part = [&command[..1], words].concat();
        let mut parsed = parse(&part, table, dashes)?;
        parsed.program = parsed.program.map(|at| at - 1 + begin);
        begin += words.len() + 1;
        parts.push(parsed);
    }
    if parts.len() > 1 && parts.iter().any(|part| part.program.is_none()) {
        return Err(NotUnderstood::Form("a program is missing beside a ':'"));
    }
    // The nodes of all ranks must follow from the first part's options.
    let places = |given: &&Given| given.handling == Handling::Placement && given.name != "n";
    match parts.iter().skip(1).flat_map(|part| &part.given).find(places) {
        Some(given) => Err(NotUnderstood::PlacementAfterColon(given.words[0].clone())),
        None => Ok(parts),
    }
}

/// Reads `command`, whose first word is the launcher itself.
///
/// # Errors
/// For an option that is not in the table, lacks its argument or is refused, and for several PROGRAMs.
pub fn parse(
    command: &[OsString],
    table: &'static [Opt],
    dashes: Dashes,
) -> Result<Parsed, NotUnderstood> {
    let mut parsed = Parsed { given: Vec::new(), program: None };
    let mut at = 1;
    while let Some(word) = command.get(at) {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            at += 1;
            parsed.program = (at < command.len()).then_some(at);
            break;
        }
        if bytes.first() != Some(&b'-') || bytes.len() == 1 {
            parsed.program = Some(at);
            break;
        }
        let taken = match dashes {
            Dashes::Getopt if !bytes.starts_with(b"--") => {
                cluster(command, at, table, &mut parsed.given)?
            }
            _ => long(command, at, table, dashes, &mut parsed.given)?,
        };
        at += taken;
    }
    for given in &parsed.given {
        if let Handling::Refuse(reason) = given.handling {
            return Err(NotUnderstood::Refused { option: given.words[0].clone(), reason });
        }
    }
    if parsed.program.is_some_and(|program| command[program..].iter().any(|word| word == ":")) {
        let reason = "several programs in one command, separated by ':', are not understood";
        return Err(NotUnderstood::Form(reason));
    }
    Ok(parsed)
}

/// Reads the option at `command[at]`, a word with the whole name of one option, and its arguments. Returns the number
/// of words that were read.
fn long(
    command: &[OsString],
    at: usize,
    table: &'static [Opt],
    dashes: Dashes,
    given: &mut Vec<Given>,
) -> Result<usize, NotUnderstood> {
    let word = command[at].as_bytes();
    let start = word.iter().position(|b| *b != b'-').unwrap_or(word.len());
    let (name, attached) = match word.iter().position(|b| *b == b'=') {
        Some(equal) if equal > start => (&word[start..equal], Some(&word[equal + 1..])),
        _ => (&word[start..], None),
    };
    // getopt's short options are single letters and never follow two dashes.
    let fits = |n: &&str| n.as_bytes() == name && (dashes == Dashes::Any || n.len() > 1);
    let found = table.iter().find(|o| o.names.iter().any(&fits)).filter(|_| start <= 2);
    let opt = found.ok_or_else(|| NotUnderstood::UnknownOption(command[at].clone()))?;
    let mut values: Vec<OsString> =
        attached.iter().map(|v| OsString::from_vec(v.to_vec())).collect();
    let separate = match opt.arity {
        Arity::Words(n) => usize::from(n).saturating_sub(values.len()),
        Arity::Flag | Arity::Attached => 0,
    };
    values.extend(arguments(command, at, separate)?.iter().cloned());
    let words = command[at..=at + separate].to_vec();
    given.push(Given { name: opt.names[0], handling: opt.handling, values, words });
    Ok(1 + separate)
}

/// Reads the options at `command[at]`, a word of one dash and one letter for each option, as getopt does. Returns the
/// number of words that were read.
fn cluster(
    command: &[OsString],
    at: usize,
    table: &'static [Opt],
    given: &mut Vec<Given>,
) -> Result<usize, NotUnderstood> {
    let word = command[at].as_bytes();
    for (i, letter) in word.iter().enumerate().skip(1) {
        let found = table.iter().find(|o| o.names.iter().any(|n| n.as_bytes() == [*letter]));
        let opt = found.ok_or_else(|| NotUnderstood::UnknownOption(command[at].clone()))?;
        let dashed = OsString::from_vec(vec![b'-', *letter]);
        let rest = OsString::from_vec(word[i + 1..].to_vec());
        let mut push = |values: Vec<OsString>, words| {
            given.push(Given { name: opt.names[0], handling: opt.handling, values, words });
        };
        match opt.arity {
            Arity::Flag => push(Vec::new(), vec![dashed]),
            _ if !rest.is_empty() => {
                let words = vec![OsString::from_vec([b"-", &word[i..]].concat())];
                push(vec![rest], words);
                return Ok(1);
            }
            Arity::Attached => push(Vec::new(), vec![dashed]),
            Arity::Words(_) => {
                let value = arguments(command, at, 1)?[0].clone();
                push(vec![value.clone()], vec![dashed, value]);
                return Ok(2);
            }
        }
    }
    Ok(1)
}

/// Returns the `number` words after `command[at]`.
fn arguments(command: &[OsString], at: usize, number: usize) -> Result<&[OsString], NotUnderstood> {
    let missing = || NotUnderstood::MissingArgument(command[at].clone());
    command.get(at + 1..at + 1 + number).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchers::testing::words;

    const TABLE: &[Opt] = &[
        opt(&["n", "np"], Arity::Words(1), Handling::Placement),
        opt(&["mca"], Arity::Words(2), Handling::Carry),
        opt(&["l", "label"], Arity::Flag, Handling::Omit),
        opt(&["K", "kill-on-bad-exit"], Arity::Attached, Handling::Omit),
        opt(&["app"], Arity::Words(1), Handling::Refuse("is a file of programs")),
    ];

    fn program(text: &str, dashes: Dashes) -> Result<Option<usize>, String> {
        let parsed = parse(&words(text), TABLE, dashes);
        parsed.map(|p| p.program).map_err(|reason| reason.to_string())
    }

    #[test]
    fn program_is_the_first_word_that_belongs_to_no_option() {
        assert_eq!(program("run -n 4 -mca a b prog -n 3", Dashes::Any), Ok(Some(6)));
        assert_eq!(program("run --np=4 prog", Dashes::Any), Ok(Some(2)));
        assert_eq!(program("run -n4 prog", Dashes::Getopt), Ok(Some(2)));
        assert_eq!(program("run -ln 4 prog", Dashes::Getopt), Ok(Some(3)));
        assert_eq!(program("run -K prog", Dashes::Getopt), Ok(Some(2)));
        assert_eq!(program("run -l -- -prog", Dashes::Getopt), Ok(Some(3)));
        assert_eq!(program("run -l", Dashes::Any), Ok(None));
    }

    #[test]
    fn a_word_that_is_not_in_the_table_is_named() {
        assert!(program("run --strange 4 prog", Dashes::Any).unwrap_err().contains("--strange"));
        assert!(program("run -lz prog", Dashes::Getopt).unwrap_err().contains("-lz"));
        assert!(program("run --n 4 prog", Dashes::Getopt).is_err());
        assert!(program("run -n", Dashes::Any).unwrap_err().contains("lacks"));
        assert!(program("run -app f", Dashes::Any).unwrap_err().contains("file of programs"));
        assert!(program("run -n 1 a : -n 1 b", Dashes::Any).unwrap_err().contains("':'"));
    }

    #[test]
    fn each_part_has_a_program_of_its_own() {
        const TABLE: &[Opt] = &[
            opt(&["n"], Arity::Words(1), Handling::Placement),
            opt(&["host"], Arity::Words(1), Handling::Placement),
        ];
        let read = |text: &str| {
            parse_parts(&words(text), TABLE, Dashes::Any).map_err(|reason| reason.to_string())
        };
        let programs = |text: &str| -> Vec<_> {
            read(text).unwrap().iter().filter_map(|c| c.program).collect()
        };
        assert_eq!(programs("run -n 1 a x : -n 2 b : c"), [3, 8, 10]);
        assert_eq!(programs("run a"), [1]);
        assert!(read("run -n 1 a : -n 2").unwrap_err().contains("missing"));
        assert!(read("run -n 1 a :").unwrap_err().contains("missing"));
        assert!(read("run -n 1 a : -host h b").unwrap_err().contains("-host"));
    }

    #[test]
    fn carried_words_keep_their_spelling() {
        let parsed = parse(&words("run --mca btl tcp,self -n 2 prog"), TABLE, Dashes::Any).unwrap();
        assert_eq!(parsed.carried().collect::<Vec<_>>(), ["--mca", "btl", "tcp,self"]);
        assert_eq!(parsed.number("n"), Some(2));
    }
}
