//! Starts a program by name, as `execvpe` does.

use core::ffi::{c_char, c_int};

use crate::base::env::Strings;
use crate::base::scratch::PATH_MAX;
use crate::base::text::join;
use crate::base::{arena, env};
use crate::exec::start::{Run, start};
use crate::path::resolve::bytes;

/// What `execvp` starts for a file that the kernel does not know.
const SHELL: *const c_char = c"/bin/sh".as_ptr();

/// Starts a program as `execvpe` does: by PATH if the name has no slash, by the shell what the kernel does not know.
///
/// # Safety
/// As [`start`].
pub unsafe fn start_by_name(
    file: *const c_char,
    argv: Strings,
    envp: Strings,
    run: Run<'_>,
) -> c_int {
    // SAFETY: by the caller's word.
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
    // SAFETY: by the caller's word.
    unsafe {
        let e = start(path, argv, envp, true, run);
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
            start(SHELL, array.as_ptr(), envp, true, run)
        });
        shell.unwrap_or(libc::ENOEXEC)
    }
}

/// Tries every directory of PATH in which `name` may lie; `attempt` gives an error number to go on or stop with.
pub fn search(name: &[u8], attempt: &mut dyn FnMut(*const c_char) -> c_int) -> c_int {
    if name.is_empty() {
        return libc::ENOENT;
    }
    let dirs = env::get(b"PATH").unwrap_or(b"/bin:/usr/bin");
    let (mut refused, mut last) = (false, libc::ENOENT);
    let mut buf = [0u8; PATH_MAX];
    for dir in dirs.split(|&b| b == b':') {
        // An empty element is the working directory.
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
