//! System calls without libc, and errno.
//!
//! The shim asks the kernel itself wherever it needs something for its own bookkeeping: libc's functions are the
//! ones it hooks, they set errno, and in a constructor that runs before ours they may not be resolved yet.
//! Nothing here touches errno but [`set_errno`] and [`fail`].

use core::ffi::{CStr, c_char, c_int};

/// A call's result: what the kernel returned, or its error number.
pub type Result<T = usize> = core::result::Result<T, c_int>;

/// # Safety
/// As the system call `n` requires.
#[cfg(target_arch = "x86_64")]
pub unsafe fn syscall(n: libc::c_long, a: [usize; 6]) -> Result {
    let r: isize;
    // SAFETY: the caller answers for the arguments; the kernel clobbers rcx and r11 and no other register.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") n as isize => r, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            out("rcx") _, out("r11") _, options(nostack));
    }
    if r < 0 { Err(-r as c_int) } else { Ok(r as usize) }
}

/// # Safety
/// As the system call `n` requires.
#[cfg(target_arch = "aarch64")]
pub unsafe fn syscall(n: libc::c_long, a: [usize; 6]) -> Result {
    let r: isize;
    // SAFETY: the caller answers for the arguments; the kernel keeps every register but x0.
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

/// A number that tells the calling thread from every other one.
pub fn thread() -> usize {
    // SAFETY: as in `errno`; the address alone is used.
    unsafe { libc::__errno_location() as usize }
}

/// Sets the calling thread's errno.
pub fn set_errno(e: c_int) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = e }
}

/// Sets errno to `e` and gives what a failed libc function returns.
pub fn fail(e: c_int) -> c_int {
    set_errno(e);
    -1
}

/// As a libc function returns it: the value, or -1 with errno set.
pub fn ret(r: Result) -> c_int {
    match r {
        Ok(v) => v as c_int,
        Err(e) => fail(e),
    }
}

/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
pub unsafe fn openat(dirfd: c_int, path: *const c_char, flags: c_int) -> Result<c_int> {
    // SAFETY: the kernel checks the pointer.
    unsafe { syscall(libc::SYS_openat, [dirfd as usize, path as usize, flags as usize, 0, 0, 0]) }
        .map(|fd| fd as c_int)
}

/// Opens a path of our own making.
pub fn open(path: &CStr, flags: c_int) -> Result<c_int> {
    // SAFETY: a `CStr` is a C string.
    unsafe { openat(libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC) }
}

/// Closes a descriptor of ours.
pub fn close(fd: c_int) {
    // SAFETY: closing a descriptor touches no memory.
    let _ = unsafe { syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// `fcntl` with a number as its argument.
pub fn fcntl(fd: c_int, command: c_int, value: usize) -> Result {
    // SAFETY: the commands used take a number or nothing.
    unsafe { syscall(libc::SYS_fcntl, [fd as usize, command as usize, value, 0, 0, 0]) }
}

/// `lseek`.
pub fn seek(fd: c_int, offset: usize, whence: c_int) -> Result {
    // SAFETY: the call takes numbers alone.
    unsafe { syscall(libc::SYS_lseek, [fd as usize, offset, whence as usize, 0, 0, 0]) }
}

/// `dup3`.
pub fn dup3(old: c_int, new: c_int, flags: c_int) -> Result {
    // SAFETY: the call takes numbers alone.
    unsafe { syscall(libc::SYS_dup3, [old as usize, new as usize, flags as usize, 0, 0, 0]) }
}

/// Reads once.
pub fn read(fd: c_int, to: &mut [u8]) -> Result {
    // SAFETY: the kernel writes at most `to.len()` bytes into `to`.
    unsafe { syscall(libc::SYS_read, [fd as usize, to.as_mut_ptr() as usize, to.len(), 0, 0, 0]) }
}

/// `readlinkat`; the number of bytes, truncated to the buffer.
///
/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
pub unsafe fn readlinkat(dirfd: c_int, path: *const c_char, to: &mut [u8]) -> Result {
    let a = [dirfd as usize, path as usize, to.as_mut_ptr() as usize, to.len(), 0, 0];
    // SAFETY: the kernel checks `path` and writes at most `to.len()` bytes into `to`.
    unsafe { syscall(libc::SYS_readlinkat, a) }
}

/// The working directory, without its NUL.
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
#[allow(dead_code)] // the trampoline lists no directories
pub unsafe fn lstat(path: *const c_char) -> Result<libc::stat> {
    // SAFETY: by the caller's word.
    unsafe { statat(path, libc::AT_SYMLINK_NOFOLLOW) }
}

/// `stat`.
///
/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
#[allow(dead_code)] // the trampoline writes nothing
pub unsafe fn stat(path: *const c_char) -> Result<libc::stat> {
    // SAFETY: by the caller's word.
    unsafe { statat(path, 0) }
}

/// # Safety
/// As [`stat`].
unsafe fn statat(path: *const c_char, flags: c_int) -> Result<libc::stat> {
    let mut st = core::mem::MaybeUninit::<libc::stat>::uninit();
    let flags = flags as usize;
    let a = [libc::AT_FDCWD as usize, path as usize, st.as_mut_ptr() as usize, flags, 0, 0];
    // SAFETY: the kernel checks `path` and writes one `struct stat`.
    unsafe { syscall(libc::SYS_newfstatat, a) }?;
    // SAFETY: the call succeeded and filled it.
    Ok(unsafe { st.assume_init() })
}

/// `faccessat` for the effective or the real user.
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
        // Kernels before 5.8, and containers whose filter does not know the call.
        // SAFETY: as above.
        Err(libc::ENOSYS | libc::EPERM) => unsafe {
            syscall(libc::SYS_faccessat, [dirfd as usize, path as usize, mode as usize, 0, 0, 0])
        },
        r => r,
    }
}

/// Maps a whole file, shared; read-write or read-only.
pub fn map(fd: c_int, len: usize, writable: bool) -> Result<*mut u8> {
    let prot = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
    let a = [0, len, prot as usize, libc::MAP_SHARED as usize, fd as usize, 0];
    // SAFETY: a new mapping at an address the kernel chooses overlaps nothing.
    unsafe { syscall(libc::SYS_mmap, a) }.map(|p| p as *mut u8)
}

/// New memory, zeroed.
pub fn memory(len: usize) -> Result<*mut u8> {
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let a = [0, len, prot, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize, usize::MAX, 0];
    // SAFETY: as in `map`.
    unsafe { syscall(libc::SYS_mmap, a) }.map(|p| p as *mut u8)
}

/// A number the kernel gives without being asked anything.
fn id(n: libc::c_long) -> u32 {
    // SAFETY: these calls take no arguments and cannot fail.
    unsafe { syscall(n, [0; 6]) }.unwrap_or(0) as u32
}

/// This process.
pub fn pid() -> u32 {
    id(libc::SYS_getpid)
}

/// Its parent.
pub fn parent() -> u32 {
    id(libc::SYS_getppid)
}

/// The effective or the real user.
pub fn uid(effective: bool) -> u32 {
    id(if effective { libc::SYS_geteuid } else { libc::SYS_getuid })
}

/// The effective or the real group.
pub fn gid(effective: bool) -> u32 {
    id(if effective { libc::SYS_getegid } else { libc::SYS_getgid })
}

/// Supplementary groups; their number.
pub fn getgroups(to: &mut [u32]) -> Result {
    // SAFETY: the kernel writes at most `to.len()` numbers, or fails.
    unsafe { syscall(libc::SYS_getgroups, [to.len(), to.as_mut_ptr() as usize, 0, 0, 0, 0]) }
}

/// Ends the process as abort(3) does.
#[cold]
#[inline(never)]
pub fn abort() -> ! {
    loop {
        // SAFETY: the calls take numbers alone; the default action of SIGABRT ends the process, and where it is caught
        // or ignored, exit_group does.
        unsafe {
            let pid = syscall(libc::SYS_getpid, [0; 6]).unwrap_or(0);
            let _ = syscall(libc::SYS_kill, [pid, libc::SIGABRT as usize, 0, 0, 0, 0]);
            let _ = syscall(libc::SYS_exit_group, [134, 0, 0, 0, 0, 0]);
        }
    }
}
