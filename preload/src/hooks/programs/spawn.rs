//! Hooks posix_spawn and its file actions. libc starts the program in a child, which no hook reaches, so the path, the
//! arguments and the environment are prepared before. The paths of file actions are replaced when the actions are
//! added.

use core::ffi::{CStr, c_char, c_int, c_void};

use libc::{AT_FDCWD, mode_t, pid_t};
use pyshm_core::base::buffer::Buffer;
use pyshm_core::base::env::Strings;
use pyshm_core::base::sys;
use pyshm_core::decide::view::{Follow, Want};
use pyshm_core::exec::by_name::search;
use pyshm_core::exec::start::{Exchange, Run, executable, start};
use pyshm_core::exec::unshimmed;
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::change::Names;
use pyshm_core::path::fd_link::mark_of;
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::path::writes::write;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::REDIRECTED;
use pyshm_core::stage::mapped::Stage;
use pyshm_core::stage::may_write::Rights;
use pyshm_format::Entry;

use crate::hooks::files::open;
use crate::hooks::programs::exec::unstaged;
use crate::hooks::programs::spawn_dir::{Changes, ChildDir, changes};
use crate::libc_calls::lazy_libc;

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
    unsafe {
        let name = bytes(path).filter(|name| name.first() != Some(&b'/'));
        match (stage(), name) {
            (Some(stage), Some(name)) if changes(actions) != Changes::No => {
                spawn_elsewhere(stage, name, (path, actions), argv, envp, &mut real)
            }
            _ => start(path, argv, envp, Exchange::Program, &mut real),
        }
    }
}

/// Spawns a program by a relative path that only the child resolves, because file actions send it to another directory. A
/// script's interpreter must get that path, so the child starts the original script. Any other program is started as if
/// its path were absolute.
///
/// # Safety
/// As posix_spawn.
#[inline(never)]
unsafe fn spawn_elsewhere(
    stage: &Stage,
    name: &[u8],
    (path, actions): (*const c_char, *const c_void),
    argv: Strings,
    envp: Strings,
    real: Run<'_>,
) -> c_int {
    // SAFETY: the caller keeps the contract of posix_spawn.
    unsafe {
        let mut dir = ChildDir::of(actions);
        let place = dir.as_mut().and_then(|dir| dir.enter_file(name));
        let found = |answer| match answer {
            Answer::Redirect(e) => Some(e),
            _ => None,
        };
        let entry = place.and_then(|(dirfd, file)| {
            read(PathArg::at(dirfd, file.as_ptr(), Follow::Yes), Want::Program, found)
        });
        if let Some(e) = entry
            && !stage.noexec
            && !is_script(&e)
        {
            return start(e.path().as_ptr().cast(), argv, envp, Exchange::Program, real);
        }
        start(path, argv, envp, Exchange::Environment, &mut |path, argv, envp| {
            match (entry, place) {
                (Some(e), _) if e.stat().mode & (libc::S_ISUID | libc::S_ISGID) != 0 => {
                    unshimmed::starts(stage, name, argv, envp, Rights::All);
                }
                (Some(e), _) => {
                    unshimmed::examine(
                        stage,
                        AT_FDCWD,
                        e.staged().as_ptr().cast(),
                        name,
                        argv,
                        envp,
                    );
                }
                (None, Some((dirfd, file))) => {
                    unshimmed::examine(stage, dirfd, file.as_ptr(), name, argv, envp);
                }
                // It may be any program.
                (None, None) => unshimmed::starts(stage, name, argv, envp, Rights::All),
            }
            real(path, argv, envp)
        })
    }
}

/// Whether a program of the stage is a script.
fn is_script(e: &Entry<'static>) -> bool {
    let mut head = [0; 2];
    // SAFETY: a staged name is a C string.
    let fd = unsafe {
        sys::openat(AT_FDCWD, e.staged().as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC)
    };
    let Ok(fd) = fd else { return true };
    let read = sys::read(fd, &mut head);
    sys::close(fd);
    read != Ok(head.len()) || head == *b"#!"
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
            Some(name) if stage().is_some() => {
                // What the child alone resolves is only tried.
                let moves = changes(actions) != Changes::No;
                search(name, &mut |path| {
                    let tries = moves && *path != b'/' as c_char;
                    match if tries { 0 } else { startable(path) } {
                        0 => run(path),
                        e => e,
                    }
                })
            }
            _ => unstaged(file, argv, envp, &mut |envp| {
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
            Answer::Redirect(e) => real(e.pristine().as_ptr().cast(), flags | REDIRECTED),
            Answer::Pass(_, p) => real(p, flags | mark_of(libc::AT_FDCWD, p)),
            // The child reports the error.
            Answer::Absent(_) => real(path, flags),
        })
    }
}

/// Adds a change of directory to the file actions. If the child's `fd` will be a redirected one, adds a change to the
/// original's path, else calls `real`.
///
/// # Safety
/// `actions` as posix_spawn_file_actions_addfchdir_np requires.
unsafe fn add_directory(actions: *mut c_void, fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let Some(stage) = stage() else { return real() };
    let mut buf = Buffer::zeroed();
    // SAFETY: the caller guarantees the actions.
    let Some(mut dir) = (unsafe { ChildDir::of_descriptor(actions, fd) }) else { return real() };
    let original = match dir.place() {
        (fd, None) => stage.c_path_of_fd(fd, &mut buf),
        (_, Some(path)) => stage
            .original(path.to_bytes_with_nul())
            .and_then(|path| CStr::from_bytes_with_nul(path).ok()),
    };
    match original {
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
