//! Hooks wordexp. libc's wordexp calls glob without reaching the hook of glob, so this module expands the patterns.
//!
//! libc's wordexp gets the same words with every pattern disguised: [`MARK`] stands in front of the first `*`, `?` or
//! `[`, and all special characters from there on are quoted. So libc handles variables, tildes, commands, splitting and
//! errors, but no patterns. The words of libc's result that contain the mark are patterns, and go to [`glob_hooked`].
//!
//! [`disguise`] follows libc's rules. From its first special character, a word extends to the next field separator,
//! even within quotes. libc only removes quotes and backslashes, so the *whole* word is a pattern without escapes. If
//! [`disguise`] does not fully understand a text, the text goes to libc unchanged, which is slower but never wrong.

use core::ffi::{CStr, c_char, c_int};
use core::mem;
use core::ptr;
use core::slice;

use pyshm_core::base::env;
use pyshm_core::stage::current::stage;

use crate::hooks::directories::glob::{Names, glob_hooked};
use crate::libc_calls::heap::{Array, release};

const WRDE_APPEND: c_int = 2;
const WRDE_REUSE: c_int = 8;
const WRDE_NOSPACE: c_int = 1;
const GLOB_NOCHECK: c_int = 1 << 4;

/// A character that no word contains.
const MARK: u8 = 1;

/// `wordexp_t`.
#[repr(C)]
pub struct Words {
    count: usize,
    words: *mut *mut c_char,
    offset: usize,
}

/// The hook of wordexp. `real` calls libc's wordexp with a text.
///
/// # Safety
/// As wordexp.
unsafe fn words(
    text: *const c_char,
    to: *mut Words,
    flags: c_int,
    real: impl Fn(*const c_char) -> c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of wordexp.
    unsafe {
        let mut disguised = Array::new();
        if text.is_null()
            || stage().is_none()
            || disguise(CStr::from_ptr(text), &mut disguised).is_none()
        {
            return real(text);
        }
        let first = if flags & (WRDE_APPEND | WRDE_REUSE) == WRDE_APPEND { (*to).count } else { 0 };
        let r = real(disguised.all().as_ptr().cast());
        if r == 0 { expand(&mut *to, first) } else { r }
    }
}

hooks! {
    fn wordexp(text: *const c_char, to: *mut Words, flags: c_int) -> c_int
        = |real| words(text, to, flags, |text| real(text, to, flags));
}

/// Writes `text` and a NUL into `to`, with every pattern disguised. `None` if the text has no pattern or is not
/// understood.
fn disguise(text: &CStr, to: &mut Array<u8>) -> Option<()> {
    let text = text.to_bytes();
    let special = |b: &u8| matches!(b, b'*' | b'?' | b'[');
    if !text.iter().any(special) || text.contains(&MARK) || text.contains(&b'`') {
        return None;
    }
    // IFS may change how words are split. SAFETY: libc keeps environ a null-terminated array of C strings.
    let mut variables = unsafe { env::strings(env::environ().cast_const().cast()) };
    if env::get(b"IFS").is_some_and(|ifs| ifs != b" \t\n")
        || variables.any(|v| v.to_bytes().contains(&MARK))
    {
        return None;
    }
    let mut rest = text;
    let mut found = false;
    while let [b, more @ ..] = rest {
        let n = match b {
            b'*' | b'?' | b'[' => {
                found = true;
                to.push(MARK)?;
                rest = pattern(rest, to)?;
                continue;
            }
            b'\\' => 2,
            b'\'' => more.iter().position(|b| *b == b'\'')? + 2,
            b'"' => 1 + double_quoted(more)?,
            b'$' => 1 + variable(more)?,
            // A user's name may follow. libc then looks up the home directory of that user.
            b'~' => {
                let name = more.iter().take_while(|b| !matches!(b, b'/' | b':' | b' ' | b'\t'));
                if name.clone().any(|b| special(b) || matches!(b, b'\\' | b'\'' | b'"' | b'$')) {
                    return None;
                }
                1 + name.count()
            }
            _ => 1,
        };
        to.extend(rest.get(..n)?)?;
        rest = rest.get(n..)?;
    }
    if !found {
        return None;
    }
    to.push(0)
}

/// Writes the quoted form of a word from its first special character on. Returns the text behind the word.
fn pattern<'a>(mut rest: &'a [u8], to: &mut Array<u8>) -> Option<&'a [u8]> {
    let mut quote = 0;
    while let [b, more @ ..] = rest {
        let mut n = 1;
        let mut put = Some(*b);
        match (*b, more.first()) {
            (b' ' | b'\t' | b'\n', _) => break,
            (b'\'' | b'"', _) if quote == 0 => (quote, put) = (*b, None),
            (b'\'' | b'"', _) if quote == *b => (quote, put) = (0, None),
            (b'$', _) if quote != b'\'' => return None,
            (b'\\', None) => return None,
            (b'\\', Some(b'\n')) => (n, put) = (2, None),
            // Within quotes, a backslash before another character is an ordinary character.
            (b'\\', Some(next)) if quote == 0 || matches!(next, b'$' | b'`' | b'"' | b'\\') => {
                (n, put) = (2, Some(*next));
            }
            _ => {}
        }
        if let Some(b) = put {
            // A letter needs no quoting, and a character of several bytes must not be split.
            if b.is_ascii() && !b.is_ascii_alphanumeric() {
                to.push(b'\\')?;
            }
            to.push(b)?;
        }
        rest = rest.get(n..)?;
    }
    Some(rest)
}

/// Length in bytes of the rest of a double-quoted string, with its closing quote. `None` if the string is not
/// understood.
fn double_quoted(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => 2,
            b'$' => 1 + variable(text.get(at + 1..)?)?,
            _ => 1,
        };
    }
}

/// Length in bytes of a variable's name behind its `$`, with its braces. `None` if the braces hold more than a name.
fn variable(text: &[u8]) -> Option<usize> {
    let braces = text.strip_prefix(b"{");
    let name = braces.unwrap_or(text);
    let n = name.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    if name.first().is_none_or(|b| b.is_ascii_digit()) || n == 0 {
        return None;
    }
    match (braces, name.get(n)) {
        (Some(_), Some(b'}')) => Some(n + 2),
        // The locale decides whether this byte is part of a letter.
        (None, Some(next)) if !next.is_ascii() => None,
        (None, _) => Some(n),
        _ => None,
    }
}

/// Replaces each pattern, from the word number `first` on, by the names that it matches. Returns wordexp's result.
///
/// # Safety
/// libc's wordexp must have filled `to`.
unsafe fn expand(to: &mut Words, first: usize) -> c_int {
    let (skip, end) = (to.offset + first, to.offset + to.count);
    let (mut new, mut replaced) = (Array::new(), Array::new());
    // SAFETY: the caller guarantees `end` pointers. Each is null or leads to a C string of malloc's.
    unsafe {
        for i in 0..end {
            let word = *to.words.add(i);
            let added = if i >= skip && reveal(word) {
                replaced.push(word).and_then(|()| names_of(word, &mut new))
            } else {
                new.push(word)
            };
            if added.is_none() {
                return WRDE_NOSPACE;
            }
        }
        let count = new.len() - to.offset;
        if replaced.len() == 0 {
            return 0;
        }
        if new.push(ptr::null_mut()).is_none() {
            return WRDE_NOSPACE;
        }
        for word in replaced.all() {
            release(word.cast());
        }
        release(to.words.cast());
        (to.words, to.count) = (new.into_raw(), count);
    }
    0
}

/// Removes the mark from a word. Returns whether the word had a mark.
///
/// # Safety
/// `word` must be a C string that may be written.
unsafe fn reveal(word: *mut c_char) -> bool {
    // SAFETY: the caller guarantees a C string, whose tail and NUL move down by one.
    unsafe {
        let text = CStr::from_ptr(word).to_bytes_with_nul();
        let Some(at) = text.iter().position(|&b| b == MARK) else { return false };
        let len = text.len();
        ptr::copy(word.add(at + 1), word.add(at), len - at - 1);
    }
    true
}

/// Adds the names that a pattern matches, or the pattern if it matches none. `None` without memory.
///
/// # Safety
/// `pattern` must be a C string.
unsafe fn names_of(pattern: *const c_char, to: &mut Array<*mut c_char>) -> Option<()> {
    // SAFETY: a zeroed structure is empty. glob fills it with `count` names in an array. The names now belong to the
    // result, and the array is freed here.
    unsafe {
        let mut found: Names = mem::zeroed();
        if glob_hooked(pattern, GLOB_NOCHECK, &raw mut found) != 0 {
            return None;
        }
        let added = to.extend(slice::from_raw_parts(found.names, found.count));
        release(found.names.cast());
        added
    }
}
