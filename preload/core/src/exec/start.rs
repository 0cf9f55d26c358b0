//! Plans the start of a program: which file, arguments and environment the kernel gets in place of the caller's.
//!
//! Invariants:
//! - The kernel never gets a staged script, because the kernel would pass the staged name to the interpreter. The
//!   script's first line is parsed here, and the interpreter is started with the *original* path of the script.
//! - A binary gets the caller's `argv[0]`.
//! - All memory is on the stack ([`crate::base::arena`]), and nothing global is written.
//! - A 32-bit program, which the shim cannot enter, is started as if there were no stage.
//! - A start that cannot be planned goes to the real function unchanged.

use core::ffi::{CStr, c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::Entry;

use crate::base::arena::{self, Arena};
use crate::base::env::{self, Strings};
use crate::base::scratch::PATH_MAX;
use crate::base::sys::{self, Ids};
use crate::base::text::{at_last_slash, decimal, join, put};
use crate::decide::view::{Follow, Want};
use crate::exec::child_env;
use crate::exec::script::{self, HEAD, Head};
use crate::path::argument::{PathArg, bytes};
use crate::path::originals::{EmptyPath, original};
use crate::path::reads::{Answer, read};
use crate::path::resolve::absolute;
use crate::stage::current::stage;
use crate::stage::mapped::Stage;
use crate::stage::permission;

/// Longest chain of scripts that the kernel accepts. Each script of a chain is the interpreter of the one before.
const MAX_LEVELS: usize = 5;

/// Passes a program, its arguments and its environment to the kernel. Returns an error number, or 0.
pub type Run<'a> = &'a mut dyn FnMut(*const c_char, Strings, Strings) -> c_int;

/// The parts that the shim may replace when a program is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// The program's file, the environment and, if the program is a script, the arguments.
    Program,
    /// Only the environment, because the path does not yet tell which file will be started.
    Environment,
}

/// Starts `path`: calls `run` with the file, arguments and environment for the kernel, and returns the result of `run`,
/// or an error number if the program cannot be started.
///
/// # Safety
/// `path`, `argv` and `envp` as execve requires.
pub unsafe fn start(
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    exchange: Exchange,
    run: Run<'_>,
) -> c_int {
    // SAFETY: the caller guarantees what execve requires. The blocks below rely on this too.
    let elsewhere =
        unsafe { child_env::without_shim(path, envp, &mut |envp| run(path, argv, envp)) };
    if let Some(e) = elsewhere {
        return e;
    }
    let Some(stage) = stage() else { return run(path, argv, envp) };
    // SAFETY: as above.
    let Some(text) = (unsafe { bytes(path) }) else { return run(path, argv, envp) };
    // SAFETY: as above.
    let room = unsafe { child_env::room(stage, envp) + text.len() + 8192 + 8 * env::count(argv) };
    // SAFETY: as above.
    let done = arena::with(room, |arena| unsafe {
        start_planned(stage, arena, path, argv, envp, exchange, run)
    });
    done.unwrap_or_else(|| run(path, argv, envp))
}

/// # Safety
/// As [`start`].
unsafe fn start_planned(
    stage: &Stage,
    arena: &mut Arena<'_>,
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    exchange: Exchange,
    run: Run<'_>,
) -> c_int {
    let visible = envp;
    // SAFETY: the caller guarantees what execve requires. The blocks below rely on this too.
    let envp = unsafe { child_env::environment(stage, envp, arena) }.unwrap_or(envp);
    if exchange == Exchange::Environment {
        return run(path, argv, envp);
    }
    if stage.noexec {
        // SAFETY: as above.
        return unsafe { from_original(path, &mut |path| run(path, argv, envp)) };
    }
    let (mut path, mut argv) = (path, argv);
    // The chain of scripts ends with a program that is no script, so one more level is needed.
    for _ in 0..=MAX_LEVELS {
        let mut head = [0; HEAD];
        // SAFETY: `path` is the caller's path or an interpreter's name in the arena.
        let target = match unsafe { find_target(arena, path, &mut head) } {
            Ok(target) => target,
            Err(e) => return e,
        };
        let script = match script::parse(head.get(..target.head).unwrap_or_default()) {
            Head::Broken if target.staged => return libc::ENOEXEC,
            Head::Script(script) if target.staged || leads_to_stage(stage, arena, script.path) => {
                script
            }
            // A 32-bit loader would complain about a 64-bit library in LD_PRELOAD.
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
        // SAFETY: as above.
        let Some(next) = (unsafe { interpret(arena, script, path, argv) }) else {
            return run(path, argv, envp);
        };
        (path, argv) = next;
    }
    libc::ELOOP
}

/// Starts the original, because the stage is noexec. If the index shows that the program is missing, the start still
/// fails without an operation on the shared file system.
///
/// # Safety
/// `path` must be a C string.
unsafe fn from_original(path: *const c_char, run: &mut dyn FnMut(*const c_char) -> c_int) -> c_int {
    let arg = PathArg::followed(path);
    // SAFETY: the caller guarantees a C string.
    unsafe {
        read(arg, Want::Program, |answer| match answer {
            Answer::Absent(e) => e,
            _ => original(arg, EmptyPath::Refused, |_, path| run(path)),
        })
    }
}

/// A program file.
struct Target {
    /// The name that the kernel gets.
    file: *const c_char,
    /// Whether `file` is the staged copy.
    staged: bool,
    /// Number of bytes that were read of the program's head.
    head: usize,
}

/// Reads the head of a program and returns the number of bytes. Fails with an error number if the file cannot be
/// opened.
///
/// # Safety
/// `file` must be a C string.
unsafe fn read_head(file: *const c_char, head: &mut [u8; HEAD]) -> Result<usize, c_int> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: the caller guarantees a C string.
    let fd = unsafe { sys::openat(AT_FDCWD, file, flags) }?;
    let n = sys::read(fd, head).unwrap_or(0);
    sys::close(fd);
    Ok(n)
}

/// Finds the file for `path` and reads the file's head. Fails with an error number if the file cannot be started.
///
/// # Safety
/// `path` must be a C string.
unsafe fn find_target(
    arena: &mut Arena<'_>,
    path: *const c_char,
    head: &mut [u8; HEAD],
) -> Result<Target, c_int> {
    let outside = |arena: &mut Arena<'_>, file: *const c_char, head: &mut [u8; HEAD]| {
        // SAFETY: callers of `outside` pass a C string.
        let head = match unsafe { read_head(file, head) } {
            Err(e @ (libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG)) => {
                return Err(e);
            }
            r => r.unwrap_or(0),
        };
        // SAFETY: `file` is a C string, perhaps in a buffer that lives only until this call returns.
        let text = unsafe { CStr::from_ptr(file) }.to_bytes();
        let file = if file == path { path } else { arena.string(&[text]).unwrap_or(path) };
        Ok(Target { file, staged: false, head })
    };
    // SAFETY: the caller guarantees a C string.
    let asked = unsafe { follow_links(arena, path) }.unwrap_or(path);
    // SAFETY: `asked` is the caller's C string or a C string in the arena.
    unsafe {
        read(PathArg::followed(asked), Want::Program, |answer| match answer {
            Answer::Absent(e) => Err(e),
            Answer::Pass(..) if asked != path => outside(arena, path, head),
            Answer::Pass(_, file) => outside(arena, file, head),
            Answer::Redirect(e) => {
                executable(&e)?;
                let file = e.staged().as_ptr().cast();
                match read_head(file, head) {
                    Ok(head) => Ok(Target { file, staged: true, head }),
                    // The program may be executed but not read.
                    Err(libc::EACCES) => Ok(Target { file, staged: true, head: 0 }),
                    // The stage is being removed.
                    Err(_) => outside(arena, path, head),
                }
            }
        })
    }
}

/// Follows a program's symbolic links from outside the prefixes into a prefix. For example, the interpreter of a
/// virtual environment that is not staged is such a program if its base installation is staged. `None` if the links do
/// not lead under a prefix.
///
/// # Safety
/// `path` must be a C string.
unsafe fn follow_links(arena: &mut Arena<'_>, path: *const c_char) -> Option<*const c_char> {
    const LINKS: usize = 8;
    let stage = stage()?;
    // SAFETY: the caller guarantees a C string.
    let text = unsafe { bytes(path) }?;
    if stage.view.prefix_of(text).is_some() {
        return None;
    }
    let mut name = [0u8; PATH_MAX];
    let mut target = [0u8; PATH_MAX];
    // A relative name may lie under a prefix too.
    let path = absolute(stage, AT_FDCWD, text, Follow::Yes, &mut name)?.path;
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

/// Checks that the user may execute the original. Fails with the error number that the kernel would give.
pub fn executable(e: &Entry<'static>) -> Result<(), c_int> {
    permission::check(e, libc::X_OK, Ids::Effective)
}

/// Whether the interpreter of a script outside the prefixes is staged. If the interpreter is not staged, the kernel
/// handles the script.
fn leads_to_stage(stage: &Stage, arena: &mut Arena<'_>, interpreter: &[u8]) -> bool {
    let Some(mut name) = arena.string(&[interpreter]) else { return false };
    if stage.view.prefix_of(interpreter).is_none() {
        // SAFETY: `name` is a C string in the arena.
        let Some(link) = (unsafe { follow_links(arena, name) }) else { return false };
        name = link;
    }
    let arg = PathArg::followed(name);
    // SAFETY: `name` is a C string in the arena.
    unsafe { read(arg, Want::Program, |answer| matches!(answer, Answer::Redirect(_))) }
}

/// Makes the interpreter's path and arguments for a script. `None` if the path and arguments do not fit into the arena.
///
/// # Safety
/// `path` and `argv` as execve requires.
unsafe fn interpret(
    arena: &mut Arena<'_>,
    script: script::Interpreter<'_>,
    path: *const c_char,
    argv: Strings,
) -> Option<(*const c_char, Strings)> {
    // SAFETY: the caller guarantees a null-terminated array.
    let given = unsafe { env::count(argv) };
    let array = arena.array(given + 4)?;
    let interpreter = arena.string(&[script.path])?;
    let mut places = array.iter_mut();
    *places.next()? = interpreter;
    if !script.arg.is_empty() {
        *places.next()? = arena.string(&[script.arg])?;
    }
    *places.next()? = path;
    // SAFETY: as above.
    for (to, s) in places.zip(unsafe { env::strings(argv) }.skip(1)) {
        *to = s.as_ptr();
    }
    Some((interpreter, array.as_ptr()))
}

/// Starts the staged program that `fd` was opened from. As in the kernel, a script's interpreter gets the name of the
/// descriptor. Fails with ENOENT if the descriptor is closed on exec, because the interpreter could not open that name.
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
    // SAFETY: a name of the index is a C string, and the caller guarantees the arrays.
    unsafe {
        let n = read_head(e.staged().as_ptr().cast(), &mut head).unwrap_or(0);
        let script = match script::parse(head.get(..n).unwrap_or_default()) {
            Head::Script(script) if !stage().is_none_or(|s| s.noexec) => script,
            _ => return start(e.path().as_ptr().cast(), argv, envp, Exchange::Program, run),
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
                .map(|(path, argv)| start(path, argv, envp, Exchange::Program, run))
        });
        interpreted.flatten().unwrap_or(libc::ENOMEM)
    }
}
