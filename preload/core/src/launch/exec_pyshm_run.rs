//! Executes `pyshm-run` in this process, in the program's place, so that the process's number, terminal, streams,
//! signals and exit status stay those that its parent expects.
//!
//! `pyshm-run` gets the role, the program's file, and the program's whole `argv`. The installation is found from the
//! path of this library, `<installation>/lib/libpyshm.so`. The library may lie one directory deeper (`$LIB` of ld.so),
//! and the library's path may be a symbolic link. If any step fails, the program goes on as without pyshm.

use core::ffi::{CStr, c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::launch;

use crate::base::env::Strings;
use crate::base::text::{at_last_slash, join, put};
use crate::base::{arena, env, link_map, sys};
use crate::exec::visible_env;

/// Length in bytes of the longest path of an installation.
const MAX: usize = 1024;
/// Number of symbolic links that are followed from the library's name.
const LINKS: usize = 4;
/// Number of words before the program's own: `argv[0]` of `pyshm-run`, the role and the program's file.
const WORDS: usize = 3;

/// Starts `pyshm-run` with `role` as its first argument, for the program `file`. Returns if the start fails.
///
/// # Safety
/// `argv` must be null or a null-terminated array of C strings.
pub unsafe fn exec_pyshm_run(role: &str, file: &CStr, argv: Strings) {
    let Some(own) = link_map::own_file() else { return };
    // SAFETY: the caller guarantees the array. The blocks below rely on this too.
    let given = unsafe { env::count(argv) };
    if given == 0 || visible_env::in_stage(own.to_bytes()) {
        return;
    }
    // SAFETY: as above.
    let skipped = unsafe { script_words(file, argv, given) };
    let _ = arena::with(8 * (given + WORDS + 2) + MAX, |arena| {
        let role = arena.string(&[role.as_bytes()])?;
        let array = arena.array(given + WORDS + 1)?;
        let mut places = array.iter_mut();
        // The first place is for `argv[0]`, which is set last.
        let name = places.next()?;
        *places.next()? = role;
        *places.next()? = file.as_ptr();
        if skipped > 0 {
            *places.next()? = file.as_ptr();
        }
        let taken = if skipped > 0 { skipped + 1 } else { 0 };
        // SAFETY: as above.
        for (to, s) in places.zip(unsafe { env::strings(argv) }.skip(taken)) {
            *to = s.as_ptr();
        }
        *name = file.as_ptr();
        let array = array.as_ptr();
        for_each_candidate(own, &mut |path| {
            let envp = env::environ() as usize;
            // SAFETY: the arrays are null-terminated arrays of C strings: one on this stack, and the process's own
            // environment.
            unsafe {
                let _ =
                    sys::syscall(libc::SYS_execve, [path as usize, array as usize, envp, 0, 0, 0]);
            }
        })
    });
}

/// Calls `attempt` with every path at which `pyshm-run` may lie, as found from `own`, the path of this library.
fn for_each_candidate(own: &CStr, attempt: &mut dyn FnMut(*const c_char)) -> Option<()> {
    let mut library = [0u8; MAX];
    let mut len = put(&mut library, 0, own.to_bytes_with_nul())? - 1;
    let mut buffer = [0u8; MAX];
    for _ in 0..=LINKS {
        let (dir, _) = at_last_slash(library.get(..len)?)?;
        // One directory up, then two. The path keeps `..` for the kernel to resolve, because `dir` may end in `..`.
        for up in [4, 7] {
            let up = b"/../../".get(..up)?;
            if join(&mut buffer, &[dir, up, launch::RUN.as_bytes(), b"\0"]).is_some() {
                attempt(buffer.as_ptr().cast());
            }
        }
        // SAFETY: `library` has a NUL at `len`.
        let n = unsafe { sys::readlinkat(AT_FDCWD, library.as_ptr().cast(), &mut buffer) }.ok()?;
        let target = buffer.get(..n)?;
        let at = if target.first() == Some(&b'/') { 0 } else { dir.len() + 1 };
        len = put(&mut library, at, target)?;
        *library.get_mut(len)? = 0;
    }
    Some(())
}

/// The number of words that the kernel inserted before the script's name in `argv`: the interpreter and its optional
/// argument (execve(2), "Interpreter scripts"). 0 if `file` is not a script.
///
/// # Safety
/// `argv` must be a null-terminated array of `given` C strings.
unsafe fn script_words(file: &CStr, argv: Strings, given: usize) -> usize {
    // SAFETY: the caller guarantees `given` C strings, and no more are read.
    let found = unsafe { env::strings(argv) }.take(given.min(3)).position(|word| word == file);
    match found {
        Some(at @ 1..) if is_script(file) => at,
        _ => 0,
    }
}

/// Whether a file begins with `#!`. That `argv` contains the file's name does not prove that the file is a script,
/// because a program may get its own name as an argument.
fn is_script(file: &CStr) -> bool {
    let mut head = [0; 2];
    let opened: Result<c_int, c_int> = sys::open(file, libc::O_RDONLY | libc::O_NONBLOCK);
    opened.is_ok_and(|fd| {
        let n = sys::read(fd, &mut head);
        sys::close(fd);
        n == Ok(2) && head == *b"#!"
    })
}
