//! Hooks posix_spawn and its file actions. libc starts the program in a child, which no hook reaches, so the path, the
//! arguments and the environment are prepared before. The paths of file actions are replaced when the actions are
//! added.

use core::ffi::{c_char, c_int, c_void};

use libc::{mode_t, pid_t};
use pyshm_core::base::env::Strings;
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::exec::by_name::search;
use pyshm_core::exec::start::{Exchange, executable, start};
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::change::Names;
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::path::writes::write;
use pyshm_core::stage::current::stage;

use crate::hooks::files::open;
use crate::hooks::programs::exec::unstaged;
use crate::libc_calls::lazy_libc;

/// Which parts the shim replaces when `path` is spawned. If `path` is relative and there are file actions, only the
/// environment is replaced: the child resolves `path`, and a file action may send the child to another directory
/// before.
///
/// # Safety
/// `path` and `actions` as posix_spawn requires.
unsafe fn exchange(path: *const c_char, actions: *const c_void) -> Exchange {
    // By libc's header, the structure begins with `int __allocated, int __used`. Only libc knows which actions are a
    // chdir. SAFETY: the caller guarantees file actions.
    let used = || unsafe { actions.cast::<c_int>().add(1).read() };
    let fixed = actions.is_null()
        || used() == 0
        // SAFETY: the caller guarantees the path.
        || unsafe { bytes(path) }.is_some_and(|p| p.first() == Some(&b'/'));
    if fixed { Exchange::Program } else { Exchange::Environment }
}

/// Spawns a program. `real` gets a path, arguments and an environment.
///
/// # Safety
/// As posix_spawn.
unsafe fn spawn(
    path: *const c_char,
    actions: *const c_void,
    argv: Strings,
    envp: Strings,
    mut real: impl FnMut(*const c_char, Strings, Strings) -> c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of posix_spawn.
    unsafe { start(path, argv, envp, exchange(path, actions), &mut real) }
}

/// Spawns a program by its name.
///
/// # Safety
/// As posix_spawnp.
unsafe fn spawn_by_name(
    pid: *mut pid_t,
    file: *const c_char,
    actions: *const c_void,
    attr: *const c_void,
    argv: Strings,
    envp: Strings,
) -> c_int {
    // SAFETY: the caller keeps the contract of posix_spawnp.
    unsafe {
        let run = |path| posix_spawn::hook(pid, path, actions, attr, argv, envp);
        match bytes(file) {
            Some(name) if stage().is_some() && name.contains(&b'/') => run(file),
            Some(name) if stage().is_some() => search(name, &mut |path| match startable(path) {
                0 => run(path),
                e => e,
            }),
            _ => unstaged(file, envp, &mut |envp| {
                posix_spawnp::real()(pid, file, actions, attr, argv, envp)
            }),
        }
    }
}

/// Checks whether a candidate of a search along PATH can be started. Returns 0 or an error number.
///
/// # Safety
/// `path` must be a C string.
unsafe fn startable(path: *const c_char) -> c_int {
    // SAFETY: the caller guarantees a C string.
    unsafe {
        read(PathArg::followed(path), Want::Program, |answer| match answer {
            Answer::Absent(e) => e,
            Answer::Redirect(e) => executable(&e).err().unwrap_or(0),
            Answer::Pass(dirfd, path) => {
                sys::faccessat(dirfd, path, libc::X_OK, libc::AT_EACCESS).err().unwrap_or(0)
            }
        })
    }
}

/// Adds an open to the file actions. `real` gets a path and flags.
///
/// # Safety
/// `path` as posix_spawn_file_actions_addopen requires.
unsafe fn add_open(
    path: *const c_char,
    flags: c_int,
    real: impl Fn(*const c_char, c_int) -> c_int,
) -> c_int {
    // SAFETY: the caller guarantees the path.
    unsafe {
        if bytes(path).is_none_or(|p| p.first() != Some(&b'/')) {
            return real(path, flags);
        }
        let arg = PathArg::followed(path);
        if open::writes(flags) {
            return write(arg, Names::Opened { makes: true, cuts: false }, |_, p| real(p, flags));
        }
        read(arg, Want::Data(flags), |answer| match answer {
            Answer::Redirect(e) => real(e.pristine().as_ptr().cast(), open::staged_flags(flags)),
            Answer::Pass(_, p) => real(p, flags),
            // The child reports the error.
            Answer::Absent(_) => real(path, flags),
        })
    }
}

/// Adds a change of directory to the file actions. If `fd` is redirected, adds a change to the original's path, else
/// calls `real`.
///
/// # Safety
/// `actions` as posix_spawn_file_actions_addfchdir_np requires.
unsafe fn add_directory(actions: *mut c_void, fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let mut buf = [0; PATH_MAX];
    match stage().and_then(|stage| stage.c_path_of_fd(fd, &mut buf)) {
        // posix_spawn_file_actions_addchdir_np has no hook, because programs test whether libc has this function. The
        // original's path needs no translation. SAFETY: the caller guarantees the actions, and libc copies the path.
        Some(path) => unsafe {
            lazy_libc::posix_spawn_file_actions_addchdir_np(actions.cast(), path.as_ptr())
        },
        None => real(),
    }
}

hooks! {
    fn posix_spawn(
        pid: *mut pid_t, path: *const c_char, actions: *const c_void, attr: *const c_void, argv: Strings, envp: Strings
    ) -> c_int = |real| spawn(path, actions, argv, envp, |path, argv, envp| real(pid, path, actions, attr, argv, envp));
    fn posix_spawnp(
        pid: *mut pid_t, file: *const c_char, actions: *const c_void, attr: *const c_void, argv: Strings, envp: Strings
    ) -> c_int = |real| spawn_by_name(pid, file, actions, attr, argv, envp);
    fn posix_spawn_file_actions_addopen(
        actions: *mut c_void, fd: c_int, path: *const c_char, flags: c_int, mode: mode_t
    ) -> c_int = |real| add_open(path, flags, |path, flags| real(actions, fd, path, flags, mode));
    fn posix_spawn_file_actions_addfchdir_np(actions: *mut c_void, fd: c_int) -> c_int
        = |real| add_directory(actions, fd, || real(actions, fd));
}
