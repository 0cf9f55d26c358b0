//! Hooks the exec family. libc's own `execvp` and `execl` never reach a hooked `execve`, so each function has a hook.
//!
//! `execl`, `execlp` and `execle` are variadic, which stable Rust cannot define. Small stubs push the arguments that
//! are in registers in front of the arguments on the stack, so that the argument list becomes an array.

use core::ffi::{c_char, c_int};

use libc::AT_FDCWD;
use pyshm_core::base::env::{self, Strings};
use pyshm_core::base::sys;
use pyshm_core::exec::by_name::start_by_name;
use pyshm_core::exec::child_env::without_shim;
use pyshm_core::exec::start::{Exchange, start, start_open};
use pyshm_core::path::argument::bytes;
use pyshm_core::stage::current::stage;

/// Calls the real execve and returns the error number, because an execve that returns has failed.
///
/// # Safety
/// As execve.
unsafe fn real_execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // SAFETY: the caller keeps the contract of execve.
    unsafe { execve::real()(path, argv, envp) };
    sys::errno()
}

/// Starts a program.
///
/// # Safety
/// As execve.
unsafe fn run(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // SAFETY: the caller keeps the contract of execve.
    let e = unsafe {
        start(path, argv, envp, Exchange::Program, &mut |path, argv, envp| {
            real_execve(path, argv, envp)
        })
    };
    sys::fail(e)
}

/// Starts a program by its name. Returns -1 with errno set if the start fails.
///
/// # Safety
/// As execvpe.
unsafe fn run_by_name(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // SAFETY: the caller keeps the contract of execvpe.
    let e = unsafe {
        start_by_name(file, argv, envp, &mut |path, argv, envp| real_execve(path, argv, envp))
    };
    sys::fail(e)
}

/// Starts a program in a process without a stage. Calls `real`, which uses libc, with the environment for the program.
///
/// # Safety
/// As execvpe.
pub unsafe fn unstaged(
    file: *const c_char,
    envp: Strings,
    real: &mut dyn FnMut(Strings) -> c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of execvpe.
    unsafe { without_shim(file, envp, real) }.unwrap_or_else(|| real(envp))
}

fn environ() -> Strings {
    env::environ().cast_const().cast()
}

/// Starts a program by its name. In a process without a stage, libc starts it.
///
/// # Safety
/// As execvpe.
unsafe fn by_name(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // SAFETY: the caller keeps the contract of execvpe.
    unsafe {
        if stage().is_some() {
            run_by_name(file, argv, envp)
        } else {
            unstaged(file, envp, &mut |envp| execvpe::real()(file, argv, envp))
        }
    }
}

/// Starts a program with this process's environment. In a process without a stage, libc starts it.
///
/// # Safety
/// As execv.
unsafe fn by_path(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the caller keeps the contract of execv.
    unsafe {
        if stage().is_some() {
            run(path, argv, environ())
        } else {
            unstaged(path, environ(), &mut |envp| execve::real()(path, argv, envp))
        }
    }
}

/// Starts the program that a descriptor was opened from. If the descriptor is redirected, starts the staged program,
/// else calls `real`.
///
/// # Safety
/// As fexecve.
unsafe fn run_fd(
    fd: c_int,
    argv: Strings,
    envp: Strings,
    real: &mut dyn FnMut(Strings, Strings) -> c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of fexecve.
    let e = unsafe {
        match stage().and_then(|s| s.entry_of_fd(fd)) {
            Some(e) => start_open(fd, &e, argv, envp, &mut |path, argv, envp| {
                real_execve(path, argv, envp)
            }),
            None => start(c"".as_ptr(), argv, envp, Exchange::Environment, &mut |_, argv, envp| {
                real(argv, envp)
            }),
        }
    };
    sys::fail(e)
}

/// The hook of execveat. If the path passes, makes the system call.
///
/// # Safety
/// As execveat.
unsafe fn run_at(
    dirfd: c_int,
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    flags: c_int,
) -> c_int {
    let kernel = |argv: Strings, envp: Strings| {
        let a = [dirfd as usize, path as usize, argv as usize, envp as usize, flags as usize, 0];
        // SAFETY: the kernel checks the pointers.
        unsafe { sys::syscall(libc::SYS_execveat, a) }.err().unwrap_or(0)
    };
    // SAFETY: the caller keeps the contract of execveat.
    unsafe {
        match bytes(path) {
            Some([]) if flags & libc::AT_EMPTY_PATH != 0 => {
                run_fd(dirfd, argv, envp, &mut |argv, envp| kernel(argv, envp))
            }
            Some(text) if flags == 0 && (dirfd == AT_FDCWD || text.first() == Some(&b'/')) => {
                run(path, argv, envp)
            }
            _ => sys::fail(start(path, argv, envp, Exchange::Environment, &mut |_, argv, envp| {
                kernel(argv, envp)
            })),
        }
    }
}

hooks! {
    fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int = |real| run(path, argv, envp);
    fn execv(path: *const c_char, argv: Strings) -> c_int = |real| by_path(path, argv);
    fn execvp(file: *const c_char, argv: Strings) -> c_int = |real| by_name(file, argv, environ());
    fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int = |real| by_name(file, argv, envp);
    fn fexecve(fd: c_int, argv: Strings, envp: Strings) -> c_int
        = |real| run_fd(fd, argv, envp, &mut |argv, envp| { real(fd, argv, envp); sys::errno() });
}

// glibc has execveat only since 2.34, as a plain system call.
exports! {
    fn execveat(dirfd: c_int, path: *const c_char, argv: Strings, envp: Strings, flags: c_int) -> c_int
        = run_at(dirfd, path, argv, envp, flags);
}

/// Implements execl, with the argument list as an array.
///
/// # Safety
/// `argv` must be the argument list of execl, laid out by the stub.
unsafe extern "C" fn list(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the caller keeps the contract of execv.
    unsafe { run(path, argv, environ()) }
}

/// Implements execlp, with the argument list as an array.
///
/// # Safety
/// As [`list`].
unsafe extern "C" fn list_path(file: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the caller keeps the contract of execvp.
    unsafe { run_by_name(file, argv, environ()) }
}

/// Implements execle, with the argument list as an array.
///
/// # Safety
/// As [`list`], with the environment behind the terminating null.
unsafe extern "C" fn list_env(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the caller guarantees that the environment follows the null of the list.
    unsafe {
        let n = env::count(argv);
        run(path, argv, *argv.add(n + 1).cast::<Strings>())
    }
}

/// Declares stubs that turn a variadic argument list into an array.
macro_rules! variadic {
    ($($name:ident => $target:ident),*) => { $(
        /// Stands in front of libc's function of this name.
        ///
        /// # Safety
        /// As libc's function.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() {
            // On x86-64 the return address lies where the last register argument belongs. So the stub saves the return
            // address, pushes the registers, and puts the return address back before it returns.
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(
                "pop r10",
                "push r9", "push r8", "push rcx", "push rdx", "push rsi",
                "mov rsi, rsp",
                "push r10",
                "call {target}",
                "pop r10",
                "add rsp, 40",
                "push r10",
                "ret",
                target = sym $target
            );
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(
                "stp x29, x30, [sp, #-80]!",
                "mov x29, sp",
                "str x1, [sp, #24]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "add x1, sp, #24",
                "bl {target}",
                "ldp x29, x30, [sp], #80",
                "ret",
                target = sym $target
            );
        }
    )* };
}

variadic! { execl => list, execlp => list_path, execle => list_env }
