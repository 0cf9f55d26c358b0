//! The exec family. libc's own `execvp` and `execl` never reach a hooked `execve`, so each is done here.
//!
//! `execl` and its kin are variadic, which stable Rust cannot define; small stubs lay the register arguments in
//! front of those on the stack, which makes the argument list an array that is passed on as it is.

use core::ffi::{c_char, c_int};

use libc::AT_FDCWD;

use pyshm_core::base::env;
use pyshm_core::base::env::Strings;
use pyshm_core::base::sys;
use pyshm_core::exec::by_name;
use pyshm_core::exec::child_env;
use pyshm_core::exec::start;
use pyshm_core::exec::start::start;
use pyshm_core::path::resolve::bytes;
use pyshm_core::stage::current::stage;

/// # Safety
/// As execve.
unsafe fn run(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // SAFETY: by the caller's word; an execve that returns has failed.
    let e = unsafe {
        start(path, argv, envp, true, &mut |path, argv, envp| {
            real!(execve)(path, argv, envp);
            sys::errno()
        })
    };
    sys::fail(e)
}

/// # Safety
/// As execvpe.
unsafe fn run_path(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // SAFETY: by the caller's word; an execve that returns has failed.
    let e = unsafe {
        by_name::start_by_name(file, argv, envp, &mut |path, argv, envp| {
            real!(execve)(path, argv, envp);
            sys::errno()
        })
    };
    sys::fail(e)
}

/// Starts a program by libc where there is no stage.
///
/// # Safety
/// As execvpe.
pub(crate) unsafe fn unstaged(
    file: *const c_char,
    envp: Strings,
    real: &mut dyn FnMut(Strings) -> c_int,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe { child_env::without_shim(file, envp, real) }.unwrap_or_else(|| real(envp))
}

fn environ() -> Strings {
    env::environ().cast_const().cast()
}

hooks! {
    unsafe fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int => my_execve {
        // SAFETY: the caller's own arguments.
        unsafe { run(path, argv, envp) }
    }
    unsafe fn execv(path: *const c_char, argv: Strings) -> c_int => my_execv {
        if stage().is_none() {
            // SAFETY: the caller's own arguments.
            return unsafe { unstaged(path, environ(), &mut |envp| real!(execve)(path, argv, envp)) };
        }
        // SAFETY: the caller's own arguments.
        unsafe { run(path, argv, environ()) }
    }
    unsafe fn execvp(file: *const c_char, argv: Strings) -> c_int => my_execvp {
        if stage().is_none() {
            // SAFETY: the caller's own arguments.
            return unsafe { unstaged(file, environ(), &mut |envp| real!(execvpe)(file, argv, envp)) };
        }
        // SAFETY: the caller's own arguments.
        unsafe { run_path(file, argv, environ()) }
    }
    unsafe fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int => my_execvpe {
        if stage().is_none() {
            // SAFETY: the caller's own arguments.
            return unsafe { unstaged(file, envp, &mut |envp| real!(execvpe)(file, argv, envp)) };
        }
        // SAFETY: the caller's own arguments.
        unsafe { run_path(file, argv, envp) }
    }
    unsafe fn fexecve(fd: c_int, argv: Strings, envp: Strings) -> c_int => my_fexecve {
        // SAFETY: the caller's own arguments.
        unsafe { run_fd(fd, argv, envp, &mut |argv, envp| { real!(fexecve)(fd, argv, envp); sys::errno() }) }
    }
}

/// Starts what a descriptor was opened from: the staged program if it is one, else by `real`.
///
/// # Safety
/// As fexecve.
unsafe fn run_fd(
    fd: c_int,
    argv: Strings,
    envp: Strings,
    real: &mut dyn FnMut(Strings, Strings) -> c_int,
) -> c_int {
    if let Some(e) = stage().and_then(|s| s.entry_of_fd(fd)) {
        // SAFETY: by the caller's word; an execve that returns has failed.
        let e = unsafe {
            start::start_open(fd, &e, argv, envp, &mut |path, argv, envp| {
                real!(execve)(path, argv, envp);
                sys::errno()
            })
        };
        return sys::fail(e);
    }
    // SAFETY: by the caller's word. Only the environment is ours to change.
    let e =
        unsafe { start(c"".as_ptr(), argv, envp, false, &mut |_, argv, envp| real(argv, envp)) };
    sys::fail(e)
}

// execveat came with glibc 2.34 and is the system call and nothing else.
exports! {
    unsafe fn execveat(dirfd: c_int, path: *const c_char, argv: Strings, envp: Strings, flags: c_int) -> c_int {
        let real = |path: *const c_char, argv: Strings, envp: Strings| {
            let a = [dirfd as usize, path as usize, argv as usize, envp as usize, flags as usize, 0];
            // SAFETY: the kernel checks the pointers.
            unsafe { sys::syscall(libc::SYS_execveat, a) }.err().unwrap_or(0)
        };
        // SAFETY: the caller's own arguments.
        unsafe {
            match bytes(path) {
                Some([]) if flags & libc::AT_EMPTY_PATH != 0 => run_fd(dirfd, argv, envp, &mut |a, e| real(path, a, e)),
                Some(text) if flags == 0 && (dirfd == AT_FDCWD || text.first() == Some(&b'/')) => run(path, argv, envp),
                _ => {
                    let e = start(path, argv, envp, false, &mut |_, argv, envp| real(path, argv, envp));
                    sys::fail(e)
                }
            }
        }
    }
}

/// # Safety
/// `argv` must be the argument list of `execl`, laid out by the stub.
unsafe extern "C" fn list(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: as execv.
    unsafe { run(path, argv, environ()) }
}

/// # Safety
/// As [`list`].
unsafe extern "C" fn list_path(file: *const c_char, argv: Strings) -> c_int {
    // SAFETY: as execvp.
    unsafe { run_path(file, argv, environ()) }
}

/// # Safety
/// As [`list`], with the environment behind the terminating null.
unsafe extern "C" fn list_env(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: execle's list goes on behind its null with the environment.
    unsafe {
        let n = env::strings(argv).count();
        run(path, argv, *argv.add(n + 1).cast::<Strings>())
    }
}

macro_rules! variadic {
    ($($name:ident => $target:ident),*) => { $(
        /// Stands in front of libc's function of this name.
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() {
            // The registers are pushed below the arguments on the stack, over the return address's place, which
            // is kept and put back.
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
