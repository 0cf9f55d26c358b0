//! The dynamic loader as a program: `ld.so [OPTIONS] PROGRAM [ARGUMENTS]` (ld.so(8)) loads PROGRAM itself, so the kernel
//! never sees its name. PROGRAM, and the directories and libraries in the options, are exchanged for the staged ones.
//!
//! PROGRAM's `argv[0]` stays the original name: by the option `--argv0` where the loader has that, and by the
//! constructor of the shim ([`original_argv0`]).

use core::ffi::{CStr, c_char};
use core::slice;

use libc::AT_FDCWD;

use crate::base::arena::Arena;
use crate::base::buffer::Buffer;
use crate::base::env::{Strings, count, strings, value};
use crate::base::sys::{self, Access};
use crate::base::text::at_last_slash;
use crate::decide::spelling::with_one_slash;
use crate::decide::view::{Follow, Want};
use crate::exec::child_env::{library, staged_directories, staged_room};
use crate::exec::visible_env::elements;
use crate::path::argument::PathArg;
use crate::path::reads::{Answer, read};
use crate::path::resolve::absolute;
use crate::stage::mapped::Stage;

/// What an option of the loader means.
enum Means {
    /// It takes no argument and does not keep PROGRAM from being started.
    Flag,
    /// Its argument names no file.
    Text,
    /// Its argument is a list of directories.
    Directories,
    /// Its argument is a list of libraries.
    Libraries,
    /// Its argument is PROGRAM's `argv[0]`.
    Argv0,
}

/// The meaning of an option; `None` for one that is unknown, or with which PROGRAM is not started.
fn option(name: &[u8]) -> Option<Means> {
    Some(match name {
        b"--inhibit-cache" => Means::Flag,
        b"--inhibit-rpath" | b"--audit" | b"--glibc-hwcaps-prepend" | b"--glibc-hwcaps-mask" => {
            Means::Text
        }
        b"--library-path" => Means::Directories,
        b"--preload" => Means::Libraries,
        b"--argv0" => Means::Argv0,
        _ => return None,
    })
}

/// Whether a program is glibc's loader, by its name.
pub fn is_loader(path: &[u8]) -> bool {
    let name = at_last_slash(path).map_or(path, |(_, name)| name.get(1..).unwrap_or(name));
    let versioned = |start: &[u8]| {
        name.strip_prefix(start).is_some_and(|rest| rest.windows(3).any(|w| w == b".so"))
    };
    name.starts_with(b"ld.so")
        || name.starts_with(b"ld64.so")
        || versioned(b"ld-linux")
        || versioned(b"ld-2")
}

/// Whether the loader, where it runs, only lists the libraries of a program in this environment: as it does for ldd(1).
/// The value of the variable does not matter.
///
/// # Safety
/// `envp` must be null or a null-terminated array of C strings.
pub unsafe fn only_lists(envp: Strings) -> bool {
    // SAFETY: the caller guarantees the array.
    unsafe { strings(envp) }
        .any(|variable| value(variable.to_bytes(), b"LD_TRACE_LOADED_OBJECTS").is_some())
}

/// An upper bound for the bytes that [`staged`] takes from an arena.
///
/// # Safety
/// `argv` must be null or a null-terminated array of C strings.
pub unsafe fn room(stage: &Stage, argv: Strings) -> usize {
    // SAFETY: the caller guarantees the array.
    let arguments = unsafe { strings(argv) };
    let lists = arguments.take_while(|a| a.to_bytes().len() < 1 << 16);
    lists.map(|a| 16 + staged_room(stage, a.to_bytes())).sum::<usize>()
}

/// The arguments with the staged PROGRAM for the loader in the file `loader`; `None` if nothing has to be exchanged, or if
/// the arena is too small.
///
/// # Safety
/// `loader` must be a C string, `argv` null or a null-terminated array of C strings that outlive the result.
#[inline(never)]
pub unsafe fn staged(
    stage: &Stage,
    arena: &mut Arena<'_>,
    loader: *const c_char,
    argv: Strings,
) -> Option<Strings> {
    // SAFETY: the caller guarantees the array.
    let given = unsafe { count(argv) };
    let array = arena.array(given + 3)?;
    let mut places = array.iter_mut();
    // SAFETY: as above.
    let mut arguments = unsafe { strings(argv) };
    *places.next()? = arguments.next()?.as_ptr();
    let mut named = false;
    let program = loop {
        let argument = arguments.next()?;
        if !argument.to_bytes().starts_with(b"--") {
            break argument;
        }
        let option = option(argument.to_bytes())?;
        *places.next()? = argument.as_ptr();
        if matches!(option, Means::Flag) {
            continue;
        }
        let of_option = arguments.next()?;
        let text = of_option.to_bytes();
        *places.next()? = match option {
            Means::Directories => arena.string_of(staged_directories(stage, text))?,
            Means::Libraries => {
                let all = elements(text).enumerate();
                arena.string_of(all.flat_map(|(i, e)| {
                    [if i > 0 { b":" } else { &b""[..] }, library(stage, e).unwrap_or(e)]
                }))?
            }
            Means::Argv0 => {
                named = true;
                of_option.as_ptr()
            }
            Means::Text | Means::Flag => of_option.as_ptr(),
        };
    };
    let file = self::program(stage, arena, program);
    // SAFETY: the caller guarantees a C string.
    if file.is_some() && !named && unsafe { has_argv0(loader) } {
        *places.next()? = c"--argv0".as_ptr();
        *places.next()? = program.as_ptr();
    }
    *places.next()? = file.unwrap_or(program.as_ptr());
    for (to, s) in places.zip(arguments) {
        *to = s.as_ptr();
    }
    Some(array.as_ptr())
}

/// The staged file that the loader is to start in place of `name`.
fn program(stage: &Stage, arena: &mut Arena<'_>, name: &CStr) -> Option<*const c_char> {
    let text = name.to_bytes();
    // The loader searches for a plain name as for a library's.
    if !text.contains(&b'/') {
        return None;
    }
    let arg = PathArg::followed(name.as_ptr());
    // SAFETY: a C string.
    let e = unsafe {
        read(arg, Want::Library, |answer| match answer {
            Answer::Redirect(e) => Some(e),
            _ => None,
        })
    }?;
    let file = match by_spelling(stage, arena, text) {
        Some(file) => file,
        None => e.staged().as_ptr().cast(),
    };
    // SAFETY: a C string of the arena's or the index's.
    unsafe { sys::faccessat(AT_FDCWD, file, libc::R_OK, 0) }.ok().map(|_| file)
}

/// The staged name that keeps the spelling of a path, because `$ORIGIN` is the directory that the loader is given; `None`
/// for an alias of a prefix, which the stage does not have.
#[inline(never)]
fn by_spelling(stage: &Stage, arena: &mut Arena<'_>, path: &[u8]) -> Option<*const c_char> {
    let mut buf = Buffer::zeroed();
    let path = absolute(stage, AT_FDCWD, path, Follow::Yes, &mut buf)?.path;
    let prefix = stage.index().prefix(stage.view.prefix_of(with_one_slash(path))?)?;
    if prefix.path != prefix.canonical {
        return None;
    }
    arena.string(&[stage.index().fs(), path])
}

/// Whether the loader in `file` has the option `--argv0`, as glibc's has since 2.33. Another loader takes it for PROGRAM.
///
/// # Safety
/// `file` must be a C string.
#[inline(never)]
unsafe fn has_argv0(file: *const c_char) -> bool {
    const OPTION: &[u8] = b"--argv0";
    const MOST: i64 = 16 << 20;
    // SAFETY: the caller guarantees a C string.
    let Ok(fd) = (unsafe { sys::openat(AT_FDCWD, file, libc::O_RDONLY | libc::O_CLOEXEC) }) else {
        return false;
    };
    let size = sys::fstat(fd).map_or(0, |st| st.st_size);
    let found = (1..=MOST).contains(&size)
        && sys::map(fd, size as usize, Access::ReadOnly).is_ok_and(|start| {
            // SAFETY: as many bytes were mapped. Nobody truncates a loader, which processes have mapped anyway.
            unsafe {
                let bytes = slice::from_raw_parts(start, size as usize);
                let found = bytes.windows(OPTION.len()).any(|w| w == OPTION);
                sys::unmap(start, size as usize);
                found
            }
        });
    sys::close(fd);
    found
}

/// Gives a program that the loader started by its staged name the original one as its `argv[0]`.
///
/// # Safety
/// `argv` must be null or the array that `main` gets, and no other thread may run yet.
pub unsafe fn original_argv0(stage: &Stage, argv: Strings) {
    // SAFETY: the caller guarantees the array, which lies on the initial stack, and its C strings.
    unsafe {
        if argv.is_null() || (*argv).is_null() {
            return;
        }
        let name = CStr::from_ptr(*argv).to_bytes();
        if let Some(original) = stage.original(name) {
            *argv.cast_mut() = original.as_ptr().cast();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_is_known_by_its_name() {
        for name in
            ["/lib64/ld-linux-x86-64.so.2", "ld.so", "/x/ld-2.31.so", "/lib/ld-linux-aarch64.so.1"]
        {
            assert!(is_loader(name.as_bytes()), "{name}");
        }
        for name in
            ["/usr/bin/ld", "ld.gold", "/lib/ld-musl-x86_64.so.1", "/x/ld-linux", "/ld.so/x"]
        {
            assert!(!is_loader(name.as_bytes()), "{name}");
        }
    }
}
