//! Starts a program by its name as `execvpe` does: searches PATH, and runs a file of unknown format by a shell.

use core::ffi::{c_char, c_int};

use crate::base::env::Strings;
use crate::base::scratch::PATH_MAX;
use crate::base::text::join;
use crate::base::{arena, env};
use crate::exec::start::{Exchange, Run, start};
use crate::path::argument::bytes;

/// The program that runs a file of a format that the kernel does not know.
const SHELL: *const c_char = c"/bin/sh".as_ptr();

/// Starts `file`, which is searched for along PATH if the name contains no slash. Calls `run` and returns its result as
/// [`start`] does.
///
/// # Safety
/// `file`, `argv` and `envp` as execvpe requires.
pub unsafe fn start_by_name(
    file: *const c_char,
    argv: Strings,
    envp: Strings,
    run: Run<'_>,
) -> c_int {
    // SAFETY: the caller guarantees what execvpe requires.
    unsafe {
        match bytes(file) {
            Some(name) if !name.contains(&b'/') => {
                search(name, &mut |path| start_or_shell(path, argv, envp, run))
            }
            _ => start_or_shell(file, argv, envp, run),
        }
    }
}

/// # Safety
/// As [`start`].
unsafe fn start_or_shell(path: *const c_char, argv: Strings, envp: Strings, run: Run<'_>) -> c_int {
    // SAFETY: the caller guarantees what execve requires, and the shell's arguments live on this stack.
    unsafe {
        let e = start(path, argv, envp, Exchange::Program, run);
        if e != libc::ENOEXEC {
            return e;
        }
        let n = env::count(argv);
        let shell = arena::with(8 * (n + 3), |arena| {
            let Some(array) = arena.array(n + 3) else { return libc::ENOEXEC };
            let [shell, script, rest @ ..] = &mut *array else { return libc::ENOEXEC };
            (*shell, *script) = (SHELL, path);
            for (to, s) in rest.iter_mut().zip(env::strings(argv).skip(1)) {
                *to = s.as_ptr();
            }
            start(SHELL, array.as_ptr(), envp, Exchange::Program, run)
        });
        shell.unwrap_or(libc::ENOEXEC)
    }
}

/// Calls `attempt` with `name` in each directory of PATH. The error number that `attempt` returns decides, as in
/// execvp, whether the search goes on. Returns the error number that ended the search.
pub fn search(name: &[u8], attempt: &mut dyn FnMut(*const c_char) -> c_int) -> c_int {
    if name.is_empty() {
        return libc::ENOENT;
    }
    let dirs = env::get(b"PATH").unwrap_or(b"/bin:/usr/bin");
    let (mut refused, mut last) = (false, libc::ENOENT);
    let mut buf = [0u8; PATH_MAX];
    for dir in dirs.split(|&b| b == b':') {
        // An empty element means the working directory.
        let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        if join(&mut buf, &[dir, slash, name, b"\0"]).is_none() {
            continue;
        }
        match attempt(buf.as_ptr().cast()) {
            libc::EACCES => refused = true,
            e @ (libc::ENOENT | libc::ESTALE | libc::ENOTDIR | libc::ENODEV | libc::ETIMEDOUT) => {
                last = e
            }
            e => return e,
        }
    }
    if refused { libc::EACCES } else { last }
}
