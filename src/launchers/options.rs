//! Reads a launcher's command line by a table of its options: what was given, and where PROGRAM begins.
//!
//! A word that begins like an option and is not in the table is an error, never a guess: taking the argument of an
//! unknown option for PROGRAM would replace the wrong word.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What an option means for the staging step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Says where ranks go; the launcher's own file derives the step's placement from it.
    Place,
    /// Needed to reach the nodes: goes into the step as it is.
    Carry,
    /// Concerns the application only.
    Drop,
    /// Cannot be carried over; the text says why.
    Refuse(&'static str),
}

/// How many words an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// None.
    Flag,
    /// One or more, as words of their own or, if one, behind `=`.
    Words(u8),
    /// At most one, and only attached: `--exclusive=user`, `-K1`.
    Attached,
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// All spellings without dashes; the first is what [`Given::name`] says.
    pub names: &'static [&'static str],
    /// What follows it.
    pub arity: Arity,
    /// What becomes of it.
    pub class: Class,
}

/// Shorthand for a table's line.
pub const fn opt(names: &'static [&'static str], arity: Arity, class: Class) -> Opt {
    Opt { names, arity, class }
}

/// How a launcher reads dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dashes {
    /// `-name` and `--name` are the same (Hydra, Open MPI).
    Any,
    /// As getopt_long: `-n4`, `-n 4`, `-lu`, `--name=4`, `--name 4` (srun).
    Getopt,
}

/// An option as it was given.
#[derive(Debug, Clone)]
pub struct Given {
    /// The first of its names.
    pub name: &'static str,
    /// What becomes of it.
    pub class: Class,
    /// Its arguments.
    pub values: Vec<OsString>,
    /// The words of the command line, for carrying over.
    pub words: Vec<OsString>,
}

/// A command line that was understood.
#[derive(Debug)]
pub struct Parsed {
    /// In their order.
    pub given: Vec<Given>,
    /// Index of PROGRAM in the command; `None` where there is none (`mpiexec --version`).
    pub program: Option<usize>,
}

impl Parsed {
    /// The last value of option `name`.
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.given.iter().rev().find(|g| g.name == name)?.values.first().map(OsString::as_os_str)
    }

    /// The last value of `name` as a number.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.value(name)?.to_str()?.parse().ok()
    }

    /// Whether option `name` was given.
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|g| g.name == name)
    }

    /// The words of what is carried over.
    pub fn carried(&self) -> impl Iterator<Item = &OsString> {
        self.given.iter().filter(|g| g.class == Class::Carry).flat_map(|g| &g.words)
    }
}

/// Reads `command`, whose first word is the launcher itself, as one or several contexts with ':' between them, each with
/// options and a PROGRAM of its own.
///
/// # Errors
/// As [`parse`].
pub fn parse_contexts(
    command: &[OsString],
    table: &'static [Opt],
    dashes: Dashes,
) -> Result<Vec<Parsed>, String> {
    let (mut contexts, mut begin) = (Vec::new(), 1);
    for words in command[1..].split(|word| word == ":") {
        let context = [&command[..1], words].concat();
        let mut parsed = parse(&context, table, dashes)?;
        parsed.program = parsed.program.map(|at| at - 1 + begin);
        begin += words.len() + 1;
        contexts.push(parsed);
    }
    if contexts.len() > 1 && contexts.iter().any(|c| c.program.is_none()) {
        return Err("a program is missing beside a ':'".into());
    }
    // Which nodes the ranks of a later one get must follow from the first one's options.
    let places = |given: &&Given| given.class == Class::Place && given.name != "n";
    match contexts.iter().skip(1).flat_map(|c| &c.given).find(places) {
        Some(given) => {
            Err(format!("option {} behind a ':' is not understood", given.words[0].display()))
        }
        None => Ok(contexts),
    }
}

/// Reads `command`, whose first word is the launcher itself.
///
/// # Errors
/// The reason, for a message that says what to do.
pub fn parse(
    command: &[OsString],
    table: &'static [Opt],
    dashes: Dashes,
) -> Result<Parsed, String> {
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
    if let Some(given) = parsed.given.iter().find(|g| matches!(g.class, Class::Refuse(_))) {
        let Class::Refuse(why) = given.class else { unreachable!("found by this class") };
        return Err(format!("option {} {why}", given.words[0].display()));
    }
    if parsed.program.is_some_and(|p| command[p..].iter().any(|w| w == ":")) {
        return Err("several programs in one command, separated by ':', are not understood".into());
    }
    Ok(parsed)
}

/// A word with the option's whole name, and what follows it; returns how many words were taken.
fn long(
    command: &[OsString],
    at: usize,
    table: &'static [Opt],
    dashes: Dashes,
    given: &mut Vec<Given>,
) -> Result<usize, String> {
    let word = command[at].as_bytes();
    let start = word.iter().position(|b| *b != b'-').unwrap_or(word.len());
    let (name, attached) = match word.iter().position(|b| *b == b'=') {
        Some(equal) if equal > start => (&word[start..equal], Some(&word[equal + 1..])),
        _ => (&word[start..], None),
    };
    // getopt's short options are single letters and never follow two dashes.
    let fits = |n: &&str| n.as_bytes() == name && (dashes == Dashes::Any || n.len() > 1);
    let found = table.iter().find(|o| o.names.iter().any(&fits));
    let Some(opt) = found.filter(|_| start <= 2) else { return Err(unknown(&command[at])) };
    let mut values: Vec<OsString> =
        attached.iter().map(|v| OsString::from_vec(v.to_vec())).collect();
    let separate = match opt.arity {
        Arity::Words(n) => usize::from(n).saturating_sub(values.len()),
        Arity::Flag | Arity::Attached => 0,
    };
    values.extend(arguments(command, at, separate)?.iter().cloned());
    let words = command[at..=at + separate].to_vec();
    given.push(Given { name: opt.names[0], class: opt.class, values, words });
    Ok(1 + separate)
}

/// A word with one dash and one letter after the other, as getopt reads it.
fn cluster(
    command: &[OsString],
    at: usize,
    table: &'static [Opt],
    given: &mut Vec<Given>,
) -> Result<usize, String> {
    let word = command[at].as_bytes();
    for (i, letter) in word.iter().enumerate().skip(1) {
        let found = table.iter().find(|o| o.names.iter().any(|n| n.as_bytes() == [*letter]));
        let Some(opt) = found else { return Err(unknown(&command[at])) };
        let dashed = OsString::from_vec(vec![b'-', *letter]);
        let rest = OsString::from_vec(word[i + 1..].to_vec());
        let mut push = |values: Vec<OsString>, words| {
            given.push(Given { name: opt.names[0], class: opt.class, values, words });
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

fn arguments(command: &[OsString], at: usize, number: usize) -> Result<&[OsString], String> {
    let missing = || format!("option {} lacks its argument", command[at].display());
    command.get(at + 1..at + 1 + number).ok_or_else(missing)
}

fn unknown(word: &OsStr) -> String {
    format!("option {} is not known", word.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Opt] = &[
        opt(&["n", "np"], Arity::Words(1), Class::Place),
        opt(&["mca"], Arity::Words(2), Class::Carry),
        opt(&["l", "label"], Arity::Flag, Class::Drop),
        opt(&["K", "kill-on-bad-exit"], Arity::Attached, Class::Drop),
        opt(&["app"], Arity::Words(1), Class::Refuse("is a file of programs")),
    ];

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn program(text: &str, dashes: Dashes) -> Result<Option<usize>, String> {
        parse(&words(text), TABLE, dashes).map(|p| p.program)
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
    fn each_context_has_a_program_of_its_own() {
        const TABLE: &[Opt] = &[
            opt(&["n"], Arity::Words(1), Class::Place),
            opt(&["host"], Arity::Words(1), Class::Place),
        ];
        let read = |text: &str| parse_contexts(&words(text), TABLE, Dashes::Any);
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
