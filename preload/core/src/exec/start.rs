//! Starting a program: what is handed to the kernel in place of what the caller gave.
//!
//! What must stay true:
//! - A staged script never goes to the kernel: it would pass the staged name to the interpreter. Its first line is
//!   read here, and the interpreter is started with the *original* script path, as the kernel would.
//! - argv[0] of a binary is the caller's.
//! - Everything lives on the stack ([`crate::arena`]); nothing global is written.
//! - A 32-bit program, which the shim cannot enter, is started as if there were no stage.
//! - Whatever cannot be planned is handed to the real function unchanged.

use core::ffi::{c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::Entry;

use crate::base::arena;
use crate::base::arena::Arena;
use crate::base::env;
use crate::base::env::Strings;
use crate::base::scratch::PATH_MAX;
use crate::base::sys;
use crate::base::text::at_last_slash;
use crate::base::text::decimal;
use crate::base::text::join;
use crate::base::text::put;
use crate::decide::view::Want;
use crate::exec::child_env;
use crate::exec::script;
use crate::exec::script::HEAD;
use crate::exec::script::Head;
use crate::path::resolve::Answer;
use crate::path::resolve::absolute;
use crate::path::resolve::ask;
use crate::path::resolve::bytes;
use crate::path::resolve::original;
use crate::stage::current::stage;
use crate::stage::mapped::Stage;
use crate::stage::permission;

/// Scripts one after the other, each the interpreter of the one before: as many as the kernel takes.
const MAX_LEVELS: usize = 5;

/// Starts `path` by calling `run` with what to hand to the kernel; `run` gives an error number, or 0.
/// `rooted`: whether `path` means the same now as when the program is started.
///
/// # Safety
/// `path`, `argv` and `envp` as execve requires.
pub unsafe fn start(
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    rooted: bool,
    run: &mut dyn FnMut(*const c_char, Strings, Strings) -> c_int,
) -> c_int {
    // SAFETY: by the caller's word.
    let elsewhere =
        unsafe { child_env::without_shim(path, envp, &mut |envp| run(path, argv, envp)) };
    if let Some(e) = elsewhere {
        return e;
    }
    let Some(stage) = stage() else { return run(path, argv, envp) };
    // SAFETY: by the caller's word.
    let Some(text) = (unsafe { bytes(path) }) else { return run(path, argv, envp) };
    // SAFETY: by the caller's word.
    let room = unsafe { child_env::room(stage, envp) + text.len() + 8192 + 8 * env::count(argv) };
    // SAFETY: by the caller's word.
    let done =
        arena::with(room, |arena| unsafe { planned(stage, arena, path, argv, envp, rooted, run) });
    done.unwrap_or_else(|| run(path, argv, envp))
}

/// # Safety
/// As [`start`].
unsafe fn planned(
    stage: &Stage,
    arena: &mut Arena<'_>,
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    rooted: bool,
    run: &mut dyn FnMut(*const c_char, Strings, Strings) -> c_int,
) -> c_int {
    let visible = envp;
    // SAFETY: by the caller's word.
    let envp = unsafe { child_env::environment(stage, envp, arena) }.unwrap_or(envp);
    if !rooted {
        return run(path, argv, envp);
    }
    if stage.noexec {
        // SAFETY: by the caller's word.
        return unsafe { from_original(path, &mut |path| run(path, argv, envp)) };
    }
    let (mut path, mut argv) = (path, argv);
    // And what is no script any more.
    for _ in 0..=MAX_LEVELS {
        let mut head = [0; HEAD];
        // SAFETY: the caller's path, or an interpreter's name in the arena.
        let target = match unsafe { target(arena, path, &mut head) } {
            Ok(target) => target,
            Err(e) => return e,
        };
        let script = match script::parse(head.get(..target.head).unwrap_or_default()) {
            Head::Broken if target.staged => return libc::ENOEXEC,
            Head::Script(script) if target.staged || leads_to_stage(stage, arena, script.path) => {
                script
            }
            // Its loader would complain of a library for another machine.
            Head::Narrow => return run(path, argv, visible),
            _ => {
                let e = run(target.file, argv, envp);
                let gone = matches!(
                    e,
                    libc::ENOENT | libc::ENOTDIR | libc::EACCES | libc::EPERM | libc::ELOOP
                );
                return if target.staged && gone { run(path, argv, envp) } else { e };
            }
        };
        // SAFETY: by the caller's word.
        let Some(next) = (unsafe { interpret(arena, script, path, argv) }) else {
            return run(path, argv, envp);
        };
        (path, argv) = next;
    }
    libc::ELOOP
}

/// Starts the original, where nothing may be executed in the stage. What is missing is still known.
///
/// # Safety
/// `path` must be a C string.
unsafe fn from_original(path: *const c_char, run: &mut dyn FnMut(*const c_char) -> c_int) -> c_int {
    // SAFETY: by the caller's word.
    unsafe {
        ask(AT_FDCWD, path, true, Want::Program, |answer| match answer {
            Answer::Absent(e) => e,
            _ => original(AT_FDCWD, path, true, false, |_, path| run(path)),
        })
    }
}

/// A program file.
struct Target {
    /// What the kernel is given.
    file: *const c_char,
    /// Whether that is the staged copy.
    staged: bool,
    /// How many bytes of its head were read.
    head: usize,
}

/// Reads the head of a program; how many bytes.
///
/// # Safety
/// `file` must be a C string.
unsafe fn peek(file: *const c_char, head: &mut [u8; HEAD]) -> Result<usize, c_int> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: by the caller's word.
    let fd = unsafe { sys::openat(AT_FDCWD, file, flags) }?;
    let n = sys::read(fd, head).unwrap_or(0);
    sys::close(fd);
    Ok(n)
}

/// Finds the file for `path` and reads its head; an error number if it cannot be started.
///
/// # Safety
/// `path` must be a C string.
unsafe fn target(
    arena: &mut Arena<'_>,
    path: *const c_char,
    head: &mut [u8; HEAD],
) -> Result<Target, c_int> {
    let outside = |arena: &mut Arena<'_>, file: *const c_char, head: &mut [u8; HEAD]| {
        // SAFETY: a C string.
        let head = match unsafe { peek(file, head) } {
            Err(e @ (libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG)) => {
                return Err(e);
            }
            r => r.unwrap_or(0),
        };
        // SAFETY: a C string, perhaps in a buffer that ends with this call.
        let text = unsafe { core::ffi::CStr::from_ptr(file) }.to_bytes();
        let file = if file == path { path } else { arena.string(&[text]).unwrap_or(path) };
        Ok(Target { file, staged: false, head })
    };
    // SAFETY: by the caller's word.
    let asked = unsafe { linked(arena, path) }.unwrap_or(path);
    // SAFETY: the same, or a string of the arena's.
    unsafe {
        ask(AT_FDCWD, asked, true, Want::Program, |answer| match answer {
            Answer::Absent(e) => Err(e),
            Answer::Pass(..) if asked != path => outside(arena, path, head),
            Answer::Pass(_, file) => outside(arena, file, head),
            Answer::Redirect(e) => {
                executable(&e)?;
                match peek(e.staged().as_ptr().cast(), head) {
                    Ok(n) => Ok(Target { file: e.staged().as_ptr().cast(), staged: true, head: n }),
                    // An execute-only program; or the stage is being removed.
                    Err(libc::EACCES) => {
                        Ok(Target { file: e.staged().as_ptr().cast(), staged: true, head: 0 })
                    }
                    Err(_) => outside(arena, path, head),
                }
            }
        })
    }
}

/// Follows a program's symbolic links from outside the prefixes to one of them: the interpreter of an environment
/// whose base is staged and that is not itself. `None` if they do not lead there.
///
/// # Safety
/// `path` must be a C string.
unsafe fn linked(arena: &mut Arena<'_>, path: *const c_char) -> Option<*const c_char> {
    const LINKS: usize = 8;
    let stage = stage()?;
    // SAFETY: by the caller's word.
    let text = unsafe { bytes(path) }?;
    if stage.view.prefix_of(text).is_some() {
        return None;
    }
    let mut name = [0u8; PATH_MAX];
    let mut target = [0u8; PATH_MAX];
    // A relative name may lie under a prefix too.
    let path = absolute(stage, AT_FDCWD, text, true, &mut name)?.path;
    if stage.view.prefix_of(path).is_some() {
        return None;
    }
    let mut len = path.len();
    *name.get_mut(len)? = 0;
    for _ in 0..LINKS {
        // SAFETY: `name` has a NUL at `len`.
        let n = unsafe { sys::readlinkat(AT_FDCWD, name.as_ptr().cast(), &mut target) }.ok()?;
        let target = target.get(..n)?;
        let dir = match target.first() {
            Some(b'/') => 0,
            _ => at_last_slash(name.get(..len)?).map_or(0, |(dir, _)| dir.len() + 1),
        };
        len = put(&mut name, dir, target)?;
        *name.get_mut(len)? = 0;
        let path = name.get(..len)?;
        if stage.view.prefix_of(path).is_some() {
            return arena.string(&[path]);
        }
    }
    None
}

/// Whether the original may be executed.
pub fn executable(e: &Entry<'static>) -> Result<(), c_int> {
    permission::check(e, libc::X_OK, true)
}

/// Whether a script outside the prefixes has its interpreter in the stage. Everything else is the kernel's.
fn leads_to_stage(stage: &Stage, arena: &mut Arena<'_>, interpreter: &[u8]) -> bool {
    let Some(mut name) = arena.string(&[interpreter]) else { return false };
    if stage.view.prefix_of(interpreter).is_none() {
        // SAFETY: a string that the arena has just made.
        let Some(link) = (unsafe { linked(arena, name) }) else { return false };
        name = link;
    }
    // SAFETY: a string that the arena has just made.
    unsafe {
        ask(AT_FDCWD, name, true, Want::Program, |answer| matches!(answer, Answer::Redirect(_)))
    }
}

/// The interpreter's path and arguments for a script.
///
/// # Safety
/// `path` and `argv` as execve requires.
unsafe fn interpret(
    arena: &mut Arena<'_>,
    script: script::Interpreter<'_>,
    path: *const c_char,
    argv: Strings,
) -> Option<(*const c_char, Strings)> {
    // SAFETY: by the caller's word.
    let given = unsafe { env::count(argv) };
    let array = arena.array(given + 4)?;
    let interpreter = arena.string(&[script.path])?;
    let mut places = array.iter_mut();
    *places.next()? = interpreter;
    if !script.arg.is_empty() {
        *places.next()? = arena.string(&[script.arg])?;
    }
    *places.next()? = path;
    // SAFETY: by the caller's word.
    for (to, s) in places.zip(unsafe { env::strings(argv) }.skip(1)) {
        *to = s.as_ptr();
    }
    Some((interpreter, array.as_ptr()))
}

/// Starts the program that `fd` was opened from. As the kernel does, a script is handed to its interpreter by the name of
/// the descriptor, which is gone where that is closed on exec.
///
/// # Safety
/// `argv` and `envp` as execve requires.
pub unsafe fn start_open(
    fd: c_int,
    e: &Entry<'static>,
    argv: Strings,
    envp: Strings,
    run: Run<'_>,
) -> c_int {
    let mut head = [0; HEAD];
    // SAFETY: a name of the index is a C string; the rest by the caller's word.
    unsafe {
        let n = peek(e.staged().as_ptr().cast(), &mut head).unwrap_or(0);
        let script = match script::parse(head.get(..n).unwrap_or_default()) {
            Head::Script(script) if !stage().is_none_or(|s| s.noexec) => script,
            _ => return start(e.path().as_ptr().cast(), argv, envp, true, run),
        };
        if let Err(e) = executable(e) {
            return e;
        }
        if sys::fcntl(fd, libc::F_GETFD, 0).is_ok_and(|f| f as c_int & libc::FD_CLOEXEC != 0) {
            return libc::ENOENT;
        }
        let mut name = [0; 32];
        if join(&mut name, &[b"/dev/fd/", decimal(fd.unsigned_abs(), &mut [0; 10])]).is_none() {
            return libc::ENOMEM;
        }
        let interpreted = arena::with(8 * (env::count(argv) + 8) + 2 * HEAD, |arena| {
            interpret(arena, script, name.as_ptr().cast(), argv)
                .map(|(path, argv)| start(path, argv, envp, true, run))
        });
        interpreted.flatten().unwrap_or(libc::ENOMEM)
    }
}

/// How a planned program is handed to the kernel: an error number, or 0.
pub type Run<'a> = &'a mut dyn FnMut(*const c_char, Strings, Strings) -> c_int;
