//! Parses the head of a program file: a script's first line, as the kernel does, or the class of an ELF file.
#![forbid(unsafe_code)]

use crate::base::text::until;

/// Number of bytes at the start of a program that the kernel examines.
pub const HEAD: usize = 256;

/// An interpreter and its optional argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interpreter<'a> {
    /// The interpreter's path.
    pub path: &'a [u8],
    /// The rest of the line, without the blanks around it. It is empty where a NUL follows the blank.
    pub arg: Option<&'a [u8]>,
}

/// The kind of program that a head shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head<'a> {
    /// Any other program.
    Other,
    /// A 32-bit program (gABI, chapter 4: ELFCLASS32).
    Narrow,
    /// A script whose first line names no usable interpreter; the kernel answers ENOEXEC.
    Broken,
    /// A script.
    Script(Interpreter<'a>),
}

/// Parses the first [`HEAD`] bytes of a program.
pub fn parse(head: &[u8]) -> Head<'_> {
    if head.starts_with(b"\x7fELF\x01") {
        Head::Narrow
    } else if head.starts_with(b"#!") {
        interpreter(head).map_or(Head::Broken, Head::Script)
    } else {
        Head::Other
    }
}

/// Parses a first line as Linux does since 5.1 (`fs/binfmt_script.c`). The kernel's buffer has [`HEAD`] bytes, with
/// NULs behind a shorter file, and its last byte never belongs to the line.
fn interpreter(head: &[u8]) -> Option<Interpreter<'_>> {
    let at = |i: usize| head.get(i).copied().unwrap_or(0);
    let blank = |i: usize| matches!(at(i), b' ' | b'\t');
    let beyond_blanks = |from: usize, last: usize| (from..=last).find(|&i| !blank(i));
    let name_end = |from: usize, last: usize| (from..=last).find(|&i| blank(i) || at(i) == 0);
    let newline = head.iter().take_while(|&&b| b != 0).position(|&b| b == b'\n');
    let mut end = match newline {
        Some(newline) => newline,
        None => {
            // Without a newline the name might be cut off. An argument may be.
            name_end(beyond_blanks(2, HEAD - 1)?, HEAD - 1)?;
            HEAD - 1
        }
    };
    while blank(end - 1) {
        end -= 1;
    }
    let name = beyond_blanks(2, end).filter(|&name| name != end)?;
    let separator = name_end(name, end);
    let arg = separator.filter(|&i| at(i) != 0).and_then(|i| beyond_blanks(i, end));
    let text = |from: usize, end: usize| {
        until(head.get(from..end.min(head.len())).unwrap_or(b""), |&b| b == 0).0
    };
    Some(Interpreter {
        path: text(name, separator.unwrap_or(end)),
        arg: arg.map(|arg| text(arg, end)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script<'a>(path: &'a str, arg: Option<&'a str>) -> Head<'a> {
        Head::Script(Interpreter { path: path.as_bytes(), arg: arg.map(str::as_bytes) })
    }

    #[test]
    fn a_script_line_is_split_as_the_kernel_splits_it() {
        assert_eq!(parse(b"\x7fELF\x02\x01"), Head::Other);
        assert_eq!(parse(b"\x7fELF\x01\x01"), Head::Narrow);
        assert_eq!(parse(b"\x7fELF"), Head::Other);
        assert_eq!(parse(b"#!/bin/sh\nx"), script("/bin/sh", None));
        assert_eq!(
            parse(b"#! \t/usr/bin/env  python -u \t\n"),
            script("/usr/bin/env", Some("python -u"))
        );
        assert_eq!(parse(b"#!/bin/sh"), script("/bin/sh", None));
        assert_eq!(parse(b"#!/bin/sh \n"), script("/bin/sh", None));
        assert_eq!(parse(b"#!/bin/sh "), script("/bin/sh", Some("")));
        assert_eq!(parse(b"#!/bin/sh x "), script("/bin/sh", Some("x ")));
        assert_eq!(parse(b"#!/bin/sh x\0y\n"), script("/bin/sh", Some("x")));
        assert_eq!(parse(b"#!"), script("", None));
        assert_eq!(parse(b"#!  \n/bin/sh"), Head::Broken);
    }

    #[test]
    fn a_line_that_is_longer_than_the_kernel_s_buffer_is_cut() {
        let line = |name: usize, blanks: usize, arg: usize| {
            let mut line = b"#!".to_vec();
            line.extend([&vec![b'n'; name][..], &vec![b' '; blanks], &vec![b'a'; arg]].concat());
            line.resize(line.len().min(HEAD), b'?');
            line
        };
        let (name, arg) = ("n".repeat(HEAD), "a".repeat(HEAD));
        // The name ends before the last byte of the buffer, or at it, or is cut off.
        assert_eq!(parse(&line(252, 9, 0)), script(&name[..252], None));
        assert_eq!(parse(&line(253, 9, 0)), script(&name[..253], None));
        assert_eq!(parse(&line(254, 9, 0)), Head::Broken);
        assert_eq!(parse(&line(0, 300, 0)), Head::Broken);
        // The last byte of the buffer is no part of the argument.
        assert_eq!(parse(&line(100, 1, 152)), script(&name[..100], Some(&arg[..152])));
        assert_eq!(parse(&line(100, 1, 300)), script(&name[..100], Some(&arg[..152])));
        let mut ends = line(100, 1, 300);
        ends[HEAD - 1] = b'\n';
        assert_eq!(parse(&ends), script(&name[..100], Some(&arg[..152])));
    }
}
