//! Hooks `syscall()`. A call by number on a path or descriptor does what the hook of the function with the same name
//! does. All other calls go to libc. Node's `fs.promises`, language runtimes, and callers of new system calls without a
//! libc function use `syscall()`.
//!
//! Invariants:
//! - For any other call, the hook jumps to libc with every register and the stack as the caller left them, because a
//!   vfork must not return through a frame of the shim.
//! - Where the kernel's interface differs from libc's, the hook follows the kernel's: `fchmodat` has no flags,
//!   `utimensat` accepts a null path, and an open is no cancellation point.
//! - One table ([`KNOWN`]) and one match ([`known`]) decide which calls are known. [`calls!`] makes both from the same
//!   list.

use core::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::{link_map, readable, sys};
use pyshm_core::decide::view::Follow;
use pyshm_core::path::argument::PathArg;
use pyshm_core::path::change::Names;
use pyshm_core::path::writes::{mark_opened, write};
use pyshm_core::stage::current::stage;

use crate::hooks::attributes::{access, fsinfo, links, stat, xattr};
use crate::hooks::directories::dirent::{self, Layout};
use crate::hooks::files::{cwd, descriptor, mutate, notify_handles, open, socket};
use crate::hooks::programs::exec;

const SYS_FCHMODAT2: c_long = 452;

static REAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Finds the real function and remembers it.
extern "C" fn find() -> *mut c_void {
    extern "C" fn nothing() -> c_long {
        c_long::from(sys::fail(libc::ENOSYS))
    }
    let found = link_map::next_function("syscall").unwrap_or(nothing as *mut c_void);
    REAL.store(found, Ordering::Release);
    found
}

/// Stands in front of libc's function of this name.
///
/// # Safety
/// As libc's function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall() {
    // The number and the six arguments are where a function of seven arguments expects them. On x86-64 the last
    // argument is on the stack. A caller that passed fewer arguments may use that place for its own data, so `known`
    // gets a copy.
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "cmp rdi, 512", "jae 2f",
        "lea rax, [rip + {table}]", "bt qword ptr [rax], rdi", "jnc 2f",
        "push qword ptr [rsp + 8]", "call {known}", "add rsp, 8", "ret",
        "2:", "mov rax, [rip + {real}]", "test rax, rax", "jz 3f", "jmp rax",
        "3:", "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "sub rsp, 8",
        "call {find}",
        "add rsp, 8", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
        "jmp rax",
        table = sym KNOWN, known = sym known, real = sym REAL, find = sym find
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "cmp x0, #512", "b.hs 2f",
        "adrp x9, {table}", "add x9, x9, :lo12:{table}", "lsr x10, x0, #6", "ldr x9, [x9, x10, lsl #3]",
        "lsr x9, x9, x0", "tbz x9, #0, 2f",
        "b {known}",
        "2:", "adrp x16, {real}", "ldr x16, [x16, :lo12:{real}]", "cbz x16, 3f", "br x16",
        "3:", "stp x29, x30, [sp, #-80]!", "mov x29, sp",
        "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]", "stp x4, x5, [sp, #48]", "str x6, [sp, #64]",
        "bl {find}", "mov x16, x0",
        "ldp x0, x1, [sp, #16]", "ldp x2, x3, [sp, #32]", "ldp x4, x5, [sp, #48]", "ldr x6, [sp, #64]",
        "ldp x29, x30, [sp], #80", "br x16",
        table = sym KNOWN, known = sym known, real = sym REAL, find = sym find
    );
}

/// Turns a result into what `syscall` returns.
fn result(r: sys::Result) -> c_long {
    match r {
        Ok(v) => v as c_long,
        Err(e) => c_long::from(sys::fail(e)),
    }
}

/// The arguments of one call.
#[derive(Clone, Copy)]
struct Arguments([usize; 6]);

impl Arguments {
    fn int(self, i: usize) -> c_int {
        self.0.get(i).copied().unwrap_or(0) as c_int
    }

    fn path(self, i: usize) -> *const c_char {
        ptr::with_exposed_provenance(self.0.get(i).copied().unwrap_or(0))
    }

    fn pointer<T>(self, i: usize) -> *mut T {
        ptr::with_exposed_provenance_mut(self.0.get(i).copied().unwrap_or(0))
    }
}

/// Declares the known calls: `NUMBER => HOOK,`.
macro_rules! calls {
    ($a:ident; $( $(#[$when:meta])? $number:path => $do:expr, )*) => {
        /// One bit for each number below 512. The bit is set if [`known`] handles the call of this number.
        static KNOWN: [u64; 8] = {
            let mut bits = [0; 8];
            $( $(#[$when])? { bits[$number as usize / 64] |= 1 << ($number as usize % 64); } )*
            bits
        };

        /// Makes a known call.
        ///
        /// # Safety
        /// As `syscall`.
        unsafe extern "C" fn known(
            n: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize
        ) -> c_long {
            let $a = Arguments([a, b, c, d, e, f]);
            // SAFETY: these are the call's own arguments. The caller keeps the call's contract, and the kernel checks
            // the pointers.
            unsafe {
                match n {
                    $( $(#[$when])? $number => ($do) as c_long, )*
                    _ => result(sys::syscall(n, $a.0)),
                }
            }
        }
    };
}

calls! { a;
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open => opened(AT_FDCWD, a.path(0), a.int(1), a.0[2]),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat => opened(AT_FDCWD, a.path(0), libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, a.0[1]),
    libc::SYS_openat => opened(a.int(0), a.path(1), a.int(2), a.0[3]),
    libc::SYS_openat2 => opened2(a),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat => stat::stat_at(AT_FDCWD, a.path(0), a.pointer(1), 0),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat => stat::stat_at(AT_FDCWD, a.path(0), a.pointer(1), AT_SYMLINK_NOFOLLOW),
    libc::SYS_newfstatat => stat::stat_at(a.int(0), a.path(1), a.pointer(2), a.int(3)),
    libc::SYS_fstat => stat::stat_fd(a.int(0), a.pointer(1)),
    libc::SYS_statx => stat::statx::hook(a.int(0), a.path(1), a.int(2), a.int(3) as c_uint, a.pointer(4)),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access => access::access::hook(a.path(0), a.int(1)),
    libc::SYS_faccessat => access::faccessat::hook(a.int(0), a.path(1), a.int(2), 0),
    libc::SYS_faccessat2 => accessible(a),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink => links::readlink::hook(a.path(0), a.pointer(1), a.0[2]),
    libc::SYS_readlinkat => links::readlinkat::hook(a.int(0), a.path(1), a.pointer(2), a.0[3]),
    libc::SYS_getxattr => xattr::getxattr::hook(a.path(0), a.path(1), a.pointer(2), a.0[3]),
    libc::SYS_lgetxattr => xattr::lgetxattr::hook(a.path(0), a.path(1), a.pointer(2), a.0[3]),
    libc::SYS_fgetxattr => xattr::fgetxattr::hook(a.int(0), a.path(1), a.pointer(2), a.0[3]),
    libc::SYS_flistxattr => xattr::flistxattr::hook(a.int(0), a.pointer(1), a.0[2]),
    libc::SYS_listxattr => xattr::listxattr::hook(a.path(0), a.pointer(1), a.0[2]),
    libc::SYS_llistxattr => xattr::llistxattr::hook(a.path(0), a.pointer(1), a.0[2]),
    libc::SYS_statfs => fsinfo::statfs::hook(a.path(0), a.pointer(1)),
    libc::SYS_fstatfs => fsinfo::fstatfs::hook(a.int(0), a.pointer(1)),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getdents => dirent::entries(a.int(0), a.pointer(1), a.0[2], Layout::Old),
    libc::SYS_getdents64 => dirent::entries(a.int(0), a.pointer(1), a.0[2], Layout::New),
    libc::SYS_fchdir => cwd::fchdir::hook(a.int(0)),
    libc::SYS_chroot => cwd::chroot::hook(a.path(0)),
    libc::SYS_execve => exec::execve::hook(a.path(0), a.pointer::<*const c_char>(1), a.pointer::<*const c_char>(2)),
    libc::SYS_execveat => exec::execveat::hook(
        a.int(0), a.path(1), a.pointer::<*const c_char>(2), a.pointer::<*const c_char>(3), a.int(4)
    ),
    libc::SYS_fcntl => descriptor::control(a.int(0), a.int(1), a.0[2], |argument| {
        sys::ret(sys::syscall(libc::SYS_fcntl, [a.0[0], a.0[1], argument, 0, 0, 0]))
    }),
    libc::SYS_flock => descriptor::flock::hook(a.int(0), a.int(1)),
    libc::SYS_ioctl => descriptor::ioctl::hook(a.int(0), a.0[1] as c_ulong, a.0[2]),
    libc::SYS_inotify_add_watch => notify_handles::inotify_add_watch::hook(a.int(0), a.path(1), a.int(2) as u32),
    libc::SYS_fanotify_mark => {
        notify_handles::fanotify_mark::hook(a.int(0), a.int(1) as c_uint, a.0[2] as u64, a.int(3), a.path(4))
    },
    libc::SYS_name_to_handle_at => {
        notify_handles::name_to_handle_at::hook(a.int(0), a.path(1), a.pointer(2), a.pointer(3), a.int(4))
    },
    libc::SYS_bind => socket::bind::hook(a.int(0), a.pointer::<libc::sockaddr>(1), a.int(2) as libc::socklen_t),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir => mutate::mkdir::hook(a.path(0), a.int(1) as c_uint),
    libc::SYS_mkdirat => mutate::mkdirat::hook(a.int(0), a.path(1), a.int(2) as c_uint),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir => mutate::rmdir::hook(a.path(0)),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink => mutate::unlink::hook(a.path(0)),
    libc::SYS_unlinkat => mutate::unlinkat::hook(a.int(0), a.path(1), a.int(2)),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod => mutate::mknod::hook(a.path(0), a.int(1) as c_uint, a.0[2] as libc::dev_t),
    libc::SYS_mknodat => mutate::mknodat::hook(a.int(0), a.path(1), a.int(2) as c_uint, a.0[3] as libc::dev_t),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod => mutate::chmod::hook(a.path(0), a.int(1) as c_uint),
    libc::SYS_fchmod => mutate::fchmod::hook(a.int(0), a.int(1) as c_uint),
    libc::SYS_fchmodat => mutate::fchmodat::hook(a.int(0), a.path(1), a.int(2) as c_uint, 0),
    SYS_FCHMODAT2 => {
        let names = mutate::mode_names(a.int(2) as c_uint);
        mutate::change_at(a.int(0), a.path(1), a.int(3), names, |dirfd, path, flags| {
            let a = [dirfd as usize, path as usize, a.0[2], flags as usize, 0, 0];
            sys::ret(sys::syscall(SYS_FCHMODAT2, a))
        })
    },
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown => mutate::chown::hook(a.path(0), a.int(1) as c_uint, a.int(2) as c_uint),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown => mutate::lchown::hook(a.path(0), a.int(1) as c_uint, a.int(2) as c_uint),
    libc::SYS_fchown => mutate::fchown::hook(a.int(0), a.int(1) as c_uint, a.int(2) as c_uint),
    libc::SYS_fchownat => {
        mutate::fchownat::hook(a.int(0), a.path(1), a.int(2) as c_uint, a.int(3) as c_uint, a.int(4))
    },
    libc::SYS_truncate => mutate::truncate::hook(a.path(0), a.0[1] as libc::off_t),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime => mutate::utime::hook(a.path(0), a.pointer::<c_void>(1)),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes => mutate::utimes::hook(a.path(0), a.pointer::<c_void>(1)),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat => touched(libc::SYS_futimesat, a),
    libc::SYS_utimensat => touched(libc::SYS_utimensat, a),
    libc::SYS_setxattr => mutate::setxattr::hook(a.path(0), a.path(1), a.pointer::<c_void>(2), a.0[3], a.int(4)),
    libc::SYS_lsetxattr => mutate::lsetxattr::hook(a.path(0), a.path(1), a.pointer::<c_void>(2), a.0[3], a.int(4)),
    libc::SYS_fsetxattr => mutate::fsetxattr::hook(a.int(0), a.path(1), a.pointer::<c_void>(2), a.0[3], a.int(4)),
    libc::SYS_removexattr => mutate::removexattr::hook(a.path(0), a.path(1)),
    libc::SYS_lremovexattr => mutate::lremovexattr::hook(a.path(0), a.path(1)),
    libc::SYS_fremovexattr => mutate::fremovexattr::hook(a.int(0), a.path(1)),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename => mutate::rename::hook(a.path(0), a.path(1)),
    libc::SYS_renameat => mutate::renameat::hook(a.int(0), a.path(1), a.int(2), a.path(3)),
    libc::SYS_renameat2 => mutate::renameat2::hook(a.int(0), a.path(1), a.int(2), a.path(3), a.int(4) as c_uint),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link => mutate::link::hook(a.path(0), a.path(1)),
    libc::SYS_linkat => mutate::linkat::hook(a.int(0), a.path(1), a.int(2), a.path(3), a.int(4)),
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink => mutate::symlink::hook(a.path(0), a.path(1)),
    libc::SYS_symlinkat => mutate::symlinkat::hook(a.path(0), a.int(1), a.path(2)),
}

/// Makes the system call openat, with the redirection of [`open::open_at`].
///
/// # Safety
/// As openat.
unsafe fn opened(dirfd: c_int, path: *const c_char, flags: c_int, mode: usize) -> c_int {
    // SAFETY: the caller keeps the contract of openat.
    unsafe {
        open::open_at(dirfd, path, flags, |dirfd, path, flags| {
            let a = [dirfd as usize, path as usize, flags as usize, mode, 0, 0];
            sys::ret(sys::syscall(libc::SYS_openat, a))
        })
    }
}

/// `struct open_how` in its first version.
#[repr(C)]
#[derive(Clone, Copy)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Makes the system call openat2. If the caller restricts how the path is resolved, the kernel resolves the path from
/// the original directory.
///
/// # Safety
/// As openat2.
unsafe fn opened2(a: Arguments) -> c_int {
    let (dirfd, path, size) = (a.int(0), a.path(1), a.0[3]);
    let kernel = |dirfd: c_int, path: *const c_char, how: *const How, size: usize| {
        let a = [dirfd as usize, path as usize, how as usize, size, 0, 0];
        // SAFETY: the kernel checks the pointers.
        sys::ret(unsafe { sys::syscall(libc::SYS_openat2, a) })
    };
    let given: *const How = a.pointer(2);
    let plain = size == size_of::<How>() && readable::is_readable(given as usize, size);
    if !plain || stage().is_none() {
        return kernel(dirfd, path, given, size);
    }
    // SAFETY: `size` bytes can be read at `given`, and `size` is the structure's size.
    let how = unsafe { given.read_unaligned() };
    let flags = how.flags as c_int;
    // The kernel refuses unknown flags, so the kernel must see flags that do not fit into an int.
    if how.flags > 0x7fff_ffff {
        return kernel(dirfd, path, given, size);
    }
    if how.resolve == 0 {
        // SAFETY: the caller's own path.
        return unsafe {
            open::open_at(dirfd, path, flags, |dirfd, path, flags| {
                kernel(dirfd, path, &How { flags: flags as u64, ..how }, size)
            })
        };
    }
    let mut buf = [0; PATH_MAX];
    let staged = if dirfd == AT_FDCWD {
        None
    } else {
        stage().and_then(|s| s.c_path_of_fd(dirfd, &mut buf))
    };
    let original = match staged.map(|dir| sys::open(dir, libc::O_PATH | libc::O_DIRECTORY)) {
        None => None,
        Some(Ok(original)) => Some(original),
        Some(Err(e)) => return sys::fail(e),
    };
    let run = |_: c_int, _: *const c_char| {
        let fd = kernel(original.unwrap_or(dirfd), path, given, size);
        mark_opened(fd, flags & libc::O_CREAT != 0);
        fd
    };
    let writes = open::writes(flags) && flags & libc::O_PATH == 0;
    let fd = if writes {
        let arg = PathArg::at(dirfd, path, Follow::Yes);
        // SAFETY: the path is the caller's own, and `write` only marks the path.
        unsafe { write(arg, open::names(flags), run) }
    } else {
        run(dirfd, path)
    };
    if let Some(original) = original {
        sys::close(original);
    }
    fd
}

/// Makes the system call faccessat2, with the answers of [`access::access_by_flags`].
///
/// # Safety
/// As faccessat2.
unsafe fn accessible(a: Arguments) -> c_int {
    // SAFETY: the caller keeps the contract of faccessat2.
    unsafe {
        access::access_by_flags(a.int(0), a.path(1), a.int(2), a.int(3), |dirfd, path| {
            let a = [dirfd as usize, path as usize, a.0[2], a.0[3], 0, 0];
            sys::ret(sys::syscall(libc::SYS_faccessat2, a))
        })
    }
}

/// Makes the system call `n`, which is utimensat or futimesat. With a null path, both calls change the descriptor's
/// file.
///
/// # Safety
/// As the system call `n`.
unsafe fn touched(n: c_long, a: Arguments) -> c_int {
    let flags = if n == libc::SYS_utimensat { a.int(3) } else { 0 };
    let real = |dirfd: c_int, path: *const c_char, flags: c_int| {
        let a = [dirfd as usize, path as usize, a.0[2], flags as usize, 0, 0];
        // SAFETY: the kernel checks the pointers.
        sys::ret(unsafe { sys::syscall(n, a) })
    };
    let (dirfd, path) = (a.int(0), a.path(1));
    if path.is_null() && dirfd != AT_FDCWD {
        return mutate::change_fd(
            dirfd,
            |path| real(AT_FDCWD, path, 0),
            || real(dirfd, path, flags),
        );
    }
    // SAFETY: the caller's own path.
    unsafe { mutate::change_at(dirfd, path, flags, Names::Same, real) }
}
