//! Makes system calls without libc, and sets errno.
//!
//! For its own bookkeeping the shim calls the kernel directly, for three reasons. libc's functions are hooked. libc's
//! functions set errno. And another library's constructor may call a hook before libc's functions are bound.
//!
//! Invariant: only [`set_errno`], [`fail`] and [`ret`] change errno.

use core::ffi::{CStr, c_char, c_int};

/// The result of a system call: the kernel's value, or its error number.
pub type Result<T = usize> = core::result::Result<T, c_int>;

/// Makes the system call `n`.
///
/// # Safety
/// The arguments must be as the system call `n` requires.
#[cfg(target_arch = "x86_64")]
pub unsafe fn syscall(n: libc::c_long, a: [usize; 6]) -> Result {
    let r: isize;
    // SAFETY: the caller guarantees the arguments. The kernel clobbers only rcx and r11, and returns the result in rax.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") n as isize => r, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            out("rcx") _, out("r11") _, options(nostack));
    }
    if r < 0 { Err(-r as c_int) } else { Ok(r as usize) }
}

/// Makes the system call `n`.
///
/// # Safety
/// The arguments must be as the system call `n` requires.
#[cfg(target_arch = "aarch64")]
pub unsafe fn syscall(n: libc::c_long, a: [usize; 6]) -> Result {
    let r: isize;
    // SAFETY: the caller guarantees the arguments. The kernel keeps every register except x0.
    unsafe {
        core::arch::asm!("svc 0", in("x8") n as isize, inlateout("x0") a[0] => r, in("x1") a[1],
            in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    if r < 0 { Err(-r as c_int) } else { Ok(r as usize) }
}

/// The calling thread's errno.
pub fn errno() -> c_int {
    // SAFETY: libc returns a pointer that is valid as long as the thread lives.
    unsafe { *libc::__errno_location() }
}

/// A number that identifies the calling thread.
pub fn thread() -> usize {
    // SAFETY: as in `errno`. Only the address is used.
    unsafe { libc::__errno_location() as usize }
}

/// Sets the calling thread's errno.
pub fn set_errno(e: c_int) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = e }
}

/// Sets errno to `e` and returns -1, as a failing libc function does.
pub fn fail(e: c_int) -> c_int {
    set_errno(e);
    -1
}

/// Turns a result into the return value of a libc function: the value, or -1 with errno set.
pub fn ret(r: Result) -> c_int {
    match r {
        Ok(v) => v as c_int,
        Err(e) => fail(e),
    }
}

/// `openat`. Returns the descriptor.
///
/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
pub unsafe fn openat(dirfd: c_int, path: *const c_char, flags: c_int) -> Result<c_int> {
    // SAFETY: the kernel checks the pointer.
    unsafe { syscall(libc::SYS_openat, [dirfd as usize, path as usize, flags as usize, 0, 0, 0]) }
        .map(|fd| fd as c_int)
}

/// Opens `path`, close-on-exec.
pub fn open(path: &CStr, flags: c_int) -> Result<c_int> {
    // SAFETY: a `CStr` is a C string.
    unsafe { openat(libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC) }
}

/// Closes a descriptor of the shim's own.
pub fn close(fd: c_int) {
    // SAFETY: closing a descriptor touches no memory.
    let _ = unsafe { syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// `fcntl` with a number as its argument.
pub fn fcntl(fd: c_int, command: c_int, value: usize) -> Result {
    // SAFETY: the commands that callers use take a number, nothing, or the address of a struct of the caller's own.
    unsafe { syscall(libc::SYS_fcntl, [fd as usize, command as usize, value, 0, 0, 0]) }
}

/// `lseek`.
pub fn seek(fd: c_int, offset: usize, whence: c_int) -> Result {
    // SAFETY: the call takes only numbers.
    unsafe { syscall(libc::SYS_lseek, [fd as usize, offset, whence as usize, 0, 0, 0]) }
}

/// `dup3`.
pub fn dup3(old: c_int, new: c_int, flags: c_int) -> Result {
    // SAFETY: the call takes only numbers.
    unsafe { syscall(libc::SYS_dup3, [old as usize, new as usize, flags as usize, 0, 0, 0]) }
}

/// One `read`. Returns the number of bytes.
pub fn read(fd: c_int, to: &mut [u8]) -> Result {
    // SAFETY: the kernel writes at most `to.len()` bytes into `to`.
    unsafe { syscall(libc::SYS_read, [fd as usize, to.as_mut_ptr() as usize, to.len(), 0, 0, 0]) }
}

/// `readlinkat`. Returns the number of bytes written; a longer target is cut off.
///
/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
pub unsafe fn readlinkat(dirfd: c_int, path: *const c_char, to: &mut [u8]) -> Result {
    let a = [dirfd as usize, path as usize, to.as_mut_ptr() as usize, to.len(), 0, 0];
    // SAFETY: the kernel checks `path` and writes at most `to.len()` bytes into `to`.
    unsafe { syscall(libc::SYS_readlinkat, a) }
}

/// Writes the working directory into `to` and returns its length in bytes, without the NUL.
pub fn getcwd(to: &mut [u8]) -> Result {
    // SAFETY: the kernel writes at most `to.len()` bytes into `to`.
    let n = unsafe { syscall(libc::SYS_getcwd, [to.as_mut_ptr() as usize, to.len(), 0, 0, 0, 0]) }?;
    Ok(n.saturating_sub(1))
}

/// `fstat`.
pub fn fstat(fd: c_int) -> Result<libc::stat> {
    let mut st = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes one `struct stat`, whose layout is libc's on both architectures.
    unsafe { syscall(libc::SYS_fstat, [fd as usize, st.as_mut_ptr() as usize, 0, 0, 0, 0]) }?;
    // SAFETY: the call succeeded and filled it.
    Ok(unsafe { st.assume_init() })
}

/// `lstat`.
///
/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
pub unsafe fn lstat(path: *const c_char) -> Result<libc::stat> {
    // SAFETY: the caller guarantees what `fstatat` asks for.
    unsafe { fstatat(libc::AT_FDCWD, path, libc::AT_SYMLINK_NOFOLLOW) }
}

/// `stat`.
///
/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
pub unsafe fn stat(path: *const c_char) -> Result<libc::stat> {
    // SAFETY: the caller guarantees what `fstatat` asks for.
    unsafe { fstatat(libc::AT_FDCWD, path, 0) }
}

/// `fstatat`.
///
/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
pub unsafe fn fstatat(dirfd: c_int, path: *const c_char, flags: c_int) -> Result<libc::stat> {
    let mut st = core::mem::MaybeUninit::<libc::stat>::uninit();
    let flags = flags as usize;
    let a = [dirfd as usize, path as usize, st.as_mut_ptr() as usize, flags, 0, 0];
    // SAFETY: the kernel checks `path` and writes one `struct stat`.
    unsafe { syscall(libc::SYS_newfstatat, a) }?;
    // SAFETY: the call succeeded and filled it.
    Ok(unsafe { st.assume_init() })
}

/// `faccessat2`. If the kernel does not have `faccessat2`, `faccessat` without the flags.
///
/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
pub unsafe fn faccessat(dirfd: c_int, path: *const c_char, mode: c_int, flags: c_int) -> Result {
    const SYS_FACCESSAT2: libc::c_long = 439;
    // SAFETY: the kernel checks the pointer.
    let r = unsafe {
        syscall(
            SYS_FACCESSAT2,
            [dirfd as usize, path as usize, mode as usize, flags as usize, 0, 0],
        )
    };
    match r {
        // Kernels before 5.8 give ENOSYS, and seccomp filters of containers that do not know the call may give EPERM.
        // SAFETY: as above.
        Err(libc::ENOSYS | libc::EPERM) => unsafe {
            syscall(libc::SYS_faccessat, [dirfd as usize, path as usize, mode as usize, 0, 0, 0])
        },
        r => r,
    }
}

/// How a file is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading only.
    ReadOnly,
    /// For reading and writing.
    ReadWrite,
}

/// Maps the first `len` bytes of a file as a shared mapping.
pub fn map(fd: c_int, len: usize, access: Access) -> Result<*mut u8> {
    let prot = match access {
        Access::ReadOnly => libc::PROT_READ,
        Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
    };
    let a = [0, len, prot as usize, libc::MAP_SHARED as usize, fd as usize, 0];
    // SAFETY: a new mapping at an address that the kernel chooses overlaps nothing.
    unsafe { syscall(libc::SYS_mmap, a) }.map(|p| p as *mut u8)
}

/// Maps `len` bytes of zeroed memory.
pub fn memory(len: usize) -> Result<*mut u8> {
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let a = [0, len, prot, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize, usize::MAX, 0];
    // SAFETY: as in `map`.
    unsafe { syscall(libc::SYS_mmap, a) }.map(|p| p as *mut u8)
}

/// Makes the system call `n`, which must take no arguments and cannot fail.
fn id(n: libc::c_long) -> u32 {
    // SAFETY: the call takes no arguments.
    unsafe { syscall(n, [0; 6]) }.unwrap_or(0) as u32
}

/// Number of this process.
pub fn pid() -> u32 {
    id(libc::SYS_getpid)
}

/// Number of the parent process.
pub fn parent() -> u32 {
    id(libc::SYS_getppid)
}

/// Selects one of a process's two pairs of user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// The pair that decides about access to files.
    Effective,
    /// The pair of the user that started the process.
    Real,
}

/// The number of the process's user.
pub fn uid(ids: Ids) -> u32 {
    id(match ids {
        Ids::Effective => libc::SYS_geteuid,
        Ids::Real => libc::SYS_getuid,
    })
}

/// The number of the process's group.
pub fn gid(ids: Ids) -> u32 {
    id(match ids {
        Ids::Effective => libc::SYS_getegid,
        Ids::Real => libc::SYS_getgid,
    })
}

/// Writes the process's supplementary groups into `to` and returns their number. Fails if the groups do not fit.
pub fn getgroups(to: &mut [u32]) -> Result {
    // SAFETY: the kernel writes at most `to.len()` numbers, or fails.
    unsafe { syscall(libc::SYS_getgroups, [to.len(), to.as_mut_ptr() as usize, 0, 0, 0, 0]) }
}

/// Ends the process as abort(3) does.
#[cold]
#[inline(never)]
pub fn abort() -> ! {
    loop {
        // SAFETY: the calls take only numbers. SIGABRT ends the process by default. If the program catches or ignores
        // SIGABRT, exit_group ends the process.
        unsafe {
            let pid = syscall(libc::SYS_getpid, [0; 6]).unwrap_or(0);
            let _ = syscall(libc::SYS_kill, [pid, libc::SIGABRT as usize, 0, 0, 0, 0]);
            let _ = syscall(libc::SYS_exit_group, [134, 0, 0, 0, 0, 0]);
        }
    }
}
