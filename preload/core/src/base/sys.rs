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

/// `pread`; the number of bytes.
pub fn pread(fd: c_int, to: &mut [u8], offset: usize) -> Result {
    let a = [fd as usize, to.as_mut_ptr() as usize, to.len(), offset, 0, 0];
    // SAFETY: the kernel writes at most `to.len()` bytes into `to`.
    unsafe { syscall(libc::SYS_pread64, a) }
}

/// `pwrite`; the number of bytes.
pub fn pwrite(fd: c_int, from: &[u8], offset: usize) -> Result {
    let a = [fd as usize, from.as_ptr() as usize, from.len(), offset, 0, 0];
    // SAFETY: the kernel reads at most `from.len()` bytes of `from`.
    unsafe { syscall(libc::SYS_pwrite64, a) }
}

/// Whether a file has this extended attribute.
pub fn has_xattr(fd: c_int, name: &CStr) -> bool {
    // SAFETY: a `CStr` is a C string; no value is asked for.
    unsafe { syscall(libc::SYS_fgetxattr, [fd as usize, name.as_ptr() as usize, 0, 0, 0, 0]) }
        .is_ok_and(|len| len > 0)
}

/// Whether the file that a path names has an extended attribute.
///
/// # Safety
/// `path` must be a C string.
pub unsafe fn path_has_xattr(path: *const c_char, name: &CStr) -> bool {
    let a = [path as usize, name.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel reads the strings; no value is asked for.
    unsafe { syscall(libc::SYS_getxattr, a) }.is_ok_and(|len| len > 0)
}

/// A limit of this process.
pub fn limit(of: libc::__rlimit_resource_t) -> Result<u64> {
    let mut now = [0u64; 2];
    let a = [0, of as usize, 0, now.as_mut_ptr() as usize, 0, 0];
    // SAFETY: the kernel writes one `struct rlimit64`, which is two numbers.
    unsafe { syscall(libc::SYS_prlimit64, a) }.map(|_| now[0])
}

/// Whether the process has a capability that it can use or hand on.
pub fn has_capabilities() -> bool {
    // _LINUX_CAPABILITY_VERSION_3, and this process.
    let mut head = [0x2008_0522_u32, 0];
    let mut sets = [0u32; 6];
    let a = [head.as_mut_ptr() as usize, sets.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: version 3 has two structures of three numbers.
    let asked = unsafe { syscall(libc::SYS_capget, a) };
    // Effective and permitted; what is inheritable alone gives nothing to a program without file capabilities.
    asked.is_err() || [0, 1, 3, 4].iter().any(|i| sets.get(*i).is_none_or(|set| *set != 0))
}

/// `readlinkat`; the number of bytes, cut to the buffer's length.
///
/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
pub unsafe fn readlinkat(dirfd: c_int, path: *const c_char, to: &mut [u8]) -> Result {
    let a = [dirfd as usize, path as usize, to.as_mut_ptr() as usize, to.len(), 0, 0];
    // SAFETY: the kernel checks `path` and writes at most `to.len()` bytes into `to`.
    unsafe { syscall(libc::SYS_readlinkat, a) }
}

/// Reads entries of a directory, in the layout of getdents64; the number of bytes.
pub fn getdents(fd: c_int, to: &mut [u8]) -> Result {
    let a = [fd as usize, to.as_mut_ptr() as usize, to.len(), 0, 0, 0];
    // SAFETY: the kernel writes at most `to.len()` bytes into `to`.
    unsafe { syscall(libc::SYS_getdents64, a) }
}

/// `flock`.
pub fn flock(fd: c_int, operation: c_int) -> Result {
    // SAFETY: the call takes numbers alone.
    unsafe { syscall(libc::SYS_flock, [fd as usize, operation as usize, 0, 0, 0, 0]) }
}

/// Whether two descriptors of this thread are duplicates: of one open file, with one offset. `None` where the kernel does not
/// tell.
pub fn are_duplicates(one: c_int, other: c_int) -> Option<bool> {
    /// Linux 6.10; sandboxes often refuse kcmp.
    const F_DUPFD_QUERY: c_int = 1027;
    // Threads need not share their descriptors.
    is_duplicate(thread_number(), one, other).or_else(|| {
        match fcntl(one, F_DUPFD_QUERY, other as usize) {
            Ok(same) => Some(same == 1),
            Err(libc::EBADF) => Some(false),
            Err(_) => None,
        }
    })
}

/// Whether a descriptor `theirs` of another process and `own` of this thread are duplicates. `None` where the kernel does
/// not tell.
pub fn is_duplicate(process: u32, theirs: c_int, own: c_int) -> Option<bool> {
    const KCMP_FILE: usize = 0;
    let (process, thread) = (process as usize, thread_number() as usize);
    // SAFETY: the call takes numbers alone.
    let order = unsafe {
        syscall(libc::SYS_kcmp, [process, thread, KCMP_FILE, theirs as usize, own as usize, 0])
    };
    match order {
        Ok(order) => Some(order == 0),
        Err(libc::EBADF) => Some(false),
        Err(_) => None,
    }
}

/// Sleeps for some milliseconds, or until a signal comes: then it fails with EINTR.
pub fn sleep(milliseconds: i64) -> Result {
    let time = libc::timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
    // SAFETY: the kernel reads one `struct timespec`.
    unsafe { syscall(libc::SYS_nanosleep, [(&raw const time) as usize, 0, 0, 0, 0, 0]) }
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

/// `statx` of a file, links followed, with its time of birth; fails on kernels before 4.11.
///
/// # Safety
/// `path` must be a C string or a pointer that the kernel may refuse.
pub unsafe fn statx(path: *const c_char) -> Result<libc::statx> {
    let mut x = core::mem::MaybeUninit::<libc::statx>::uninit();
    let mask = (libc::STATX_BASIC_STATS | libc::STATX_BTIME) as usize;
    let a = [libc::AT_FDCWD as usize, path as usize, 0, mask, x.as_mut_ptr() as usize, 0];
    // SAFETY: the kernel checks `path` and writes one `struct statx`.
    unsafe { syscall(libc::SYS_statx, a) }?;
    // SAFETY: the call succeeded and filled it.
    Ok(unsafe { x.assume_init() })
}

/// `faccessat2`, or `faccessat` where the kernel does not have it.
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

/// Unmaps what [`map`] mapped.
///
/// # Safety
/// Nothing may refer to the mapping any more.
pub unsafe fn unmap(at: *mut u8, len: usize) {
    // SAFETY: the caller guarantees that nothing refers to it.
    let _ = unsafe { syscall(libc::SYS_munmap, [at as usize, len, 0, 0, 0, 0]) };
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

/// Whether two processes have the same memory, as a child of vfork and its parent. `None` if the kernel does not tell.
pub fn shares_memory(one: u32, other: u32) -> Option<bool> {
    const KCMP_VM: usize = 1;
    // SAFETY: the call takes no pointers.
    match unsafe { syscall(libc::SYS_kcmp, [one as usize, other as usize, KCMP_VM, 0, 0, 0]) } {
        Ok(order) => Some(order == 0),
        Err(libc::ESRCH) => Some(false),
        // Sandboxes often refuse kcmp. A process that has ended shares nothing. SAFETY: signal 0 is none.
        Err(_) => match unsafe { syscall(libc::SYS_kill, [other as usize, 0, 0, 0, 0, 0]) } {
            Err(libc::ESRCH) => Some(false),
            _ => None,
        },
    }
}

/// Number of this process.
pub fn pid() -> u32 {
    id(libc::SYS_getpid)
}

/// Number of the calling thread, which no other thread of the node has.
pub fn thread_number() -> u32 {
    id(libc::SYS_gettid)
}

/// `symlinkat`.
///
/// # Safety
/// `target` and `path` must be C strings.
pub unsafe fn symlinkat(target: *const c_char, dirfd: c_int, path: *const c_char) -> Result {
    let a = [target as usize, dirfd as usize, path as usize, 0, 0, 0];
    // SAFETY: the kernel reads the strings.
    unsafe { syscall(libc::SYS_symlinkat, a) }
}

/// Sets the time of an open file's last modification, in seconds and nanoseconds, and leaves the time of the last access.
pub fn set_modified(fd: c_int, sec: i64, nsec: u32) {
    let omit = libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT };
    let times = [omit, libc::timespec { tv_sec: sec, tv_nsec: i64::from(nsec) }];
    let a = [fd as usize, 0, (&raw const times) as usize, 0, 0, 0];
    // SAFETY: the kernel reads the two times; without a path they are the descriptor's.
    let _ = unsafe { syscall(libc::SYS_utimensat, a) };
}

/// `renameat2`.
///
/// # Safety
/// `from` and `to` must be C strings.
pub unsafe fn renameat2(
    from_fd: c_int,
    from: *const c_char,
    to_fd: c_int,
    to: *const c_char,
    flags: u32,
) -> Result {
    let a = [from_fd as usize, from as usize, to_fd as usize, to as usize, flags as usize, 0];
    // SAFETY: the kernel reads the strings.
    unsafe { syscall(libc::SYS_renameat2, a) }
}

/// Removes a file, if it can.
///
/// # Safety
/// `path` must be a C string.
pub unsafe fn unlink(path: *const c_char) {
    // SAFETY: the caller guarantees a C string.
    let _ = unsafe { unlinkat(libc::AT_FDCWD, path) };
}

/// Removes a file in a directory.
///
/// # Safety
/// `path` must be a C string.
pub unsafe fn unlinkat(dirfd: c_int, path: *const c_char) -> Result {
    // SAFETY: the kernel reads the string.
    unsafe { syscall(libc::SYS_unlinkat, [dirfd as usize, path as usize, 0, 0, 0, 0]) }
}

/// Whether this process has children, ended or not.
pub fn has_children() -> bool {
    const P_ALL: usize = 0;
    let how = (libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL) as usize;
    // SAFETY: the kernel writes nothing without a place for it, and WNOWAIT leaves the children as they are.
    let asked = unsafe { syscall(libc::SYS_waitid, [P_ALL, 0, 0, how, 0, 0]) };
    asked != Err(libc::ECHILD)
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

/// A number that `setfsuid` or `setfsgid` returns where it is asked to set what no user has. `None` where a filter refuses the
/// call.
fn files_id(n: libc::c_long) -> Option<u32> {
    // SAFETY: the calls take numbers alone, and this one sets nothing.
    unsafe { syscall(n, [u32::MAX as usize, 0, 0, 0, 0, 0]) }.ok().map(|id| id as u32)
}

/// Whether the calling thread's effective group is its real one. It is where a filter refuses the call.
pub fn group_is_real() -> bool {
    let (mut real, mut effective, mut saved) = (0u32, 0u32, 0u32);
    let to = [&raw mut real, &raw mut effective, &raw mut saved].map(|id| id as usize);
    // SAFETY: the kernel writes the three numbers.
    let _ = unsafe { syscall(libc::SYS_getresgid, [to[0], to[1], to[2], 0, 0, 0]) };
    real == effective
}

/// The user by whom the kernel checks this thread's access to files.
pub fn fsuid() -> Option<u32> {
    files_id(libc::SYS_setfsuid)
}

/// The group by which the kernel checks this thread's access to files.
pub fn fsgid() -> Option<u32> {
    files_id(libc::SYS_setfsgid)
}

/// Capabilities of a thread, as far as their numbers are below 32.
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    /// Those that count.
    pub effective: u32,
    /// Those that it may make count.
    pub permitted: u32,
}

/// The capabilities of this thread.
pub fn capabilities() -> Result<Capabilities> {
    // _LINUX_CAPABILITY_VERSION_3; effective, permitted and inheritable ones below 32, and again those above.
    let mut head = [0x2008_0522u32, 0];
    let mut sets = [0u32; 6];
    let a = [head.as_mut_ptr() as usize, sets.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel reads and writes two words of `head`, and writes six words of `sets`.
    unsafe { syscall(libc::SYS_capget, a) }?;
    let [effective, permitted, ..] = sets;
    Ok(Capabilities { effective, permitted })
}

/// Writes the supplementary groups into `to` and returns how many there are. Fails if they do not fit.
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
