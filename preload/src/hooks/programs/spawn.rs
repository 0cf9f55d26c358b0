//! posix_spawn: libc starts the program in a child of its own, so the path, the arguments and the environment are
//! prepared here. What the file actions open or go to is known only when they are added.

use core::ffi::{c_char, c_int, c_void};

use libc::{AT_FDCWD, mode_t, pid_t};

use crate::hooks::files::open;
use crate::hooks::programs::exec::unstaged;
use crate::libc_calls::lazy_libc;
use pyshm_core::base::env::Strings;
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::exec::by_name::search;
use pyshm_core::exec::start;
use pyshm_core::exec::start::start;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::path::resolve::bytes;
use pyshm_core::path::writes;
use pyshm_core::path::writes::Names;
use pyshm_core::stage::current::stage;

/// A relative path means what it means in the child, which the file actions may have sent to another directory.
///
/// # Safety
/// `path` and `actions` as posix_spawn requires.
unsafe fn rooted(path: *const c_char, actions: *const c_void) -> bool {
    // libc's header has these first: int __allocated, int __used. Whether an action is a chdir only libc knows.
    // SAFETY: by the caller's word.
    let used = || unsafe { actions.cast::<c_int>().add(1).read() };
    // SAFETY: by the caller's word.
    actions.is_null()
        || used() == 0
        || unsafe { bytes(path) }.is_some_and(|p| p.first() == Some(&b'/'))
}

hooks! {
    unsafe fn posix_spawn(
        pid: *mut pid_t, path: *const c_char, actions: *const c_void, attr: *const c_void, argv: Strings, envp: Strings
    ) -> c_int => my_posix_spawn {
        // SAFETY: the caller's own arguments.
        unsafe {
            start(path, argv, envp, rooted(path, actions), &mut |path, argv, envp| {
                real!(posix_spawn)(pid, path, actions, attr, argv, envp)
            })
        }
    }
    unsafe fn posix_spawnp(
        pid: *mut pid_t, file: *const c_char, actions: *const c_void, attr: *const c_void, argv: Strings, envp: Strings
    ) -> c_int => my_posix_spawnp {
        // SAFETY: the caller's own arguments.
        unsafe {
            let run = |path: *const c_char| {
                start(path, argv, envp, rooted(path, actions), &mut |path, argv, envp| {
                    real!(posix_spawn)(pid, path, actions, attr, argv, envp)
                })
            };
            match bytes(file) {
                Some(name) if stage().is_some() && !name.contains(&b'/') => {
                    search(name, &mut |path| match startable(path) { 0 => run(path), e => e })
                }
                Some(name) if stage().is_some() && name.contains(&b'/') => run(file),
                _ => unstaged(file, envp, &mut |envp| real!(posix_spawnp)(pid, file, actions, attr, argv, envp)),
            }
        }
    }
    unsafe fn posix_spawn_file_actions_addopen(
        actions: *mut c_void, fd: c_int, path: *const c_char, flags: c_int, mode: mode_t
    ) -> c_int => my_posix_spawn_file_actions_addopen {
        let real = |p: *const c_char, flags: c_int| -> c_int {
            // SAFETY: the caller's own arguments; libc copies the path.
            unsafe { real!(posix_spawn_file_actions_addopen)(actions, fd, p, flags, mode) }
        };
        // SAFETY: the caller's own arguments.
        unsafe {
            if bytes(path).is_none_or(|p| p.first() != Some(&b'/')) {
                return real(path, flags);
            }
            if open::writes(flags) {
                return writes::one(AT_FDCWD, path, true, Names::IfMissing, |_, p| real(p, flags));
            }
            ask(AT_FDCWD, path, true, Want::Data(flags), |answer| match answer {
                Answer::Redirect(e) => {
                    let (p, f) = (e.pristine().as_ptr().cast(), open::staged_flags(flags));
                    real(p, f)
                }
                Answer::Pass(_, p) => real(p, flags),
                // The child reports it.
                Answer::Absent(_) => real(path, flags),
            })
        }
    }
    unsafe fn posix_spawn_file_actions_addfchdir_np(actions: *mut c_void, fd: c_int) -> c_int => my_addfchdir_np {
        // SAFETY: the caller's own arguments.
        unsafe { add_directory(actions, fd, || real!(posix_spawn_file_actions_addfchdir_np)(actions, fd)) }
    }
}

/// Sends the child to the original of a staged directory, by its path; to any other by `real`.
///
/// # Safety
/// As posix_spawn_file_actions_addfchdir_np.
unsafe fn add_directory(actions: *mut c_void, fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let mut buf = [0; PATH_MAX];
    match stage().and_then(|stage| stage.c_path_of_fd(fd, &mut buf)) {
        // Not a hook: programs look for it to see whether it exists, and it takes the original's path as it is.
        // SAFETY: the caller's own actions; libc copies the path.
        Some(path) => unsafe {
            lazy_libc::posix_spawn_file_actions_addchdir_np(actions.cast(), path.as_ptr())
        },
        None => real(),
    }
}

/// Whether a candidate of a PATH search can be started: 0, or why not. Only files count, as for execve.
///
/// # Safety
/// `path` must be a C string.
unsafe fn startable(path: *const c_char) -> c_int {
    // SAFETY: by the caller's word.
    unsafe {
        ask(AT_FDCWD, path, true, Want::Program, |answer| match answer {
            Answer::Absent(e) => e,
            Answer::Redirect(e) => start::executable(&e).err().unwrap_or(0),
            Answer::Pass(dirfd, path) => {
                sys::faccessat(dirfd, path, libc::X_OK, libc::AT_EACCESS).err().unwrap_or(0)
            }
        })
    }
}
