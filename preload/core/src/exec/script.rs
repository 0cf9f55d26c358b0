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
    /// The rest of the line, trimmed; may be empty.
    pub arg: &'a [u8],
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
        return Head::Narrow;
    }
    let Some(line) = head.strip_prefix(b"#!") else { return Head::Other };
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let (line, end) = until(line, |&b| b == b'\n' || b == 0);
    let line_is_cut = end.is_empty() && head.len() >= HEAD;
    let (_, line) = until(line, |b| !blank(b));
    if line.is_empty() {
        return Head::Broken;
    }
    let (path, rest) = until(line, blank);
    // As in the kernel, a cut-off interpreter name is an error, and a cut-off argument is not.
    if rest.is_empty() && line_is_cut {
        return Head::Broken;
    }
    let (_, mut arg) = until(rest, |b| !blank(b));
    while let [trimmed @ .., b' ' | b'\t'] = arg {
        arg = trimmed;
    }
    Head::Script(Interpreter { path, arg })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script<'a>(path: &'a str, arg: &'a str) -> Head<'a> {
        Head::Script(Interpreter { path: path.as_bytes(), arg: arg.as_bytes() })
    }

    #[test]
    fn a_script_line_is_split_as_the_kernel_splits_it() {
        assert_eq!(parse(b"\x7fELF\x02\x01"), Head::Other);
        assert_eq!(parse(b"\x7fELF\x01\x01"), Head::Narrow);
        assert_eq!(parse(b"\x7fELF"), Head::Other);
        assert_eq!(parse(b"#!/bin/sh\nx"), script("/bin/sh", ""));
        assert_eq!(
            parse(b"#! \t/usr/bin/env  python -u \t\n"),
            script("/usr/bin/env", "python -u")
        );
        assert_eq!(parse(b"#!/bin/sh"), script("/bin/sh", ""));
        assert_eq!(parse(b"#!  \n/bin/sh"), Head::Broken);
        let mut long = b"#!/".to_vec();
        long.resize(HEAD, b'x');
        assert_eq!(parse(&long), Head::Broken);
    }
}
