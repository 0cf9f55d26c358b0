//! Answers the stat family from the index without a system call.
//!
//! Since 2.33 glibc exports `stat`, `lstat`, `fstat` and `fstatat` and hides `__xstat` and its variants. glibc has
//! `statx` since 2.28. If no object behind this library has a function, the hook makes the system call
//! ([`crate::hooks::attributes::stat_behind`]). On both architectures `struct stat` and `struct stat64` have the same
//! layout, which is the kernel's.
//!
//! A descriptor of a staged file reports the original's attributes, so that stat and fstat agree.

use core::ffi::{c_char, c_int, c_uint};

use libc::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::fast_path::{Look, look};
use pyshm_core::path::originals::{EmptyPath, original};
use pyshm_core::path::reads::{Answer, read, read_after};
use pyshm_core::stage::current::stage;
use pyshm_core::stage::mapped::Stage;
use pyshm_format::state::Mark;
use pyshm_format::{Entry, Kind, Stat};

use crate::hooks::attributes::stat_behind::{
    Behind, KERNEL, behind, stat_hook, stat_hook_names, stat_hooks,
};

/// The AT flags that these hooks understand. A call with any other flag goes to the kernel.
const KNOWN_FLAGS: c_int =
    AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_SYNC_TYPE;

/// Whether statx takes these flags and this mask.
fn is_known(flags: c_int, mask: c_uint) -> bool {
    flags & !KNOWN_FLAGS == 0
        && flags & libc::AT_STATX_SYNC_TYPE != libc::AT_STATX_SYNC_TYPE
        && mask & libc::STATX__RESERVED as c_uint == 0
}

/// Makes the `struct stat` of an entry.
fn fill(s: &Stat) -> libc::stat {
    // SAFETY: a struct of integers may be zero. A struct literal could not set the padding fields.
    let mut st: libc::stat = unsafe { core::mem::zeroed() };
    st.st_dev = s.dev;
    st.st_ino = s.ino;
    st.st_rdev = s.rdev;
    st.st_nlink = s.nlink as _;
    st.st_mode = s.mode;
    st.st_uid = s.uid;
    st.st_gid = s.gid;
    st.st_size = s.size as _;
    st.st_blocks = s.blocks as _;
    st.st_blksize = s.blksize as _;
    (st.st_atime, st.st_atime_nsec) = (s.atime.sec, i64::from(s.atime.nsec));
    (st.st_mtime, st.st_mtime_nsec) = (s.mtime.sec, i64::from(s.mtime.nsec));
    (st.st_ctime, st.st_ctime_nsec) = (s.ctime.sec, i64::from(s.ctime.nsec));
    st
}

/// Makes the `struct statx` of an entry.
fn fill_x(s: &Stat) -> libc::statx {
    // SAFETY: as in `fill`.
    let mut x: libc::statx = unsafe { core::mem::zeroed() };
    let time = |t: pyshm_format::Time| {
        // SAFETY: as in `fill`.
        let mut x: libc::statx_timestamp = unsafe { core::mem::zeroed() };
        (x.tv_sec, x.tv_nsec) = (t.sec, t.nsec);
        x
    };
    x.stx_mask = libc::STATX_BASIC_STATS;
    if s.btime != pyshm_format::Time::default() {
        x.stx_mask |= libc::STATX_BTIME;
        x.stx_btime = time(s.btime);
    }
    x.stx_blksize = s.blksize;
    x.stx_nlink = s.nlink as u32;
    x.stx_uid = s.uid;
    x.stx_gid = s.gid;
    x.stx_mode = s.mode as u16;
    x.stx_ino = s.ino;
    x.stx_size = s.size;
    x.stx_blocks = s.blocks;
    (x.stx_atime, x.stx_mtime, x.stx_ctime) = (time(s.atime), time(s.mtime), time(s.ctime));
    (x.stx_dev_major, x.stx_dev_minor) = (libc::major(s.dev), libc::minor(s.dev));
    (x.stx_rdev_major, x.stx_rdev_minor) = (libc::major(s.rdev), libc::minor(s.rdev));
    x
}

/// The entry of a redirected descriptor, unless the entry's path diverged after the open. `st` holds the staged file's
/// attributes.
fn current(fd: c_int, st: Option<&libc::stat>) -> Option<Entry<'static>> {
    let stage = stage()?;
    let hint = st.and_then(|st| stage.hint(fd, st));
    let e = hint.or_else(|| stage.entry_of_fd(fd))?;
    let listing = e.kind() == Kind::Directory && stage.view.listing_diverged(&e);
    (!listing && !stage.view.diverged.has(Mark::Path, e.hash())).then_some(e)
}

/// Whether a path is null or empty, so that AT_EMPTY_PATH means the descriptor.
///
/// # Safety
/// `path` as in [`bytes`].
unsafe fn is_empty(path: *const c_char) -> bool {
    // SAFETY: the caller guarantees what `bytes` asks for.
    path.is_null() || unsafe { bytes(path) }.is_some_and(<[u8]>::is_empty)
}

/// The hook of fstatat. If the path passes, makes the system call.
///
/// # Safety
/// As fstatat.
#[inline]
pub unsafe fn stat_at(
    dirfd: c_int,
    path: *const c_char,
    to: *mut libc::stat,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of fstatat.
    unsafe { attributes(PathArg::by_flags(dirfd, path, flags), to, flags, KERNEL) }
}

/// The hook of fstat, which makes the system call and then shows the original's attributes.
///
/// # Safety
/// As fstat.
#[inline]
pub unsafe fn stat_fd(fd: c_int, to: *mut libc::stat) -> c_int {
    // SAFETY: the caller keeps the contract of fstat.
    unsafe { attributes_of_fd(fd, to, KERNEL) }
}

/// Writes the attributes of a path into `to`.
///
/// # Safety
/// As fstatat.
#[inline]
unsafe fn attributes(arg: PathArg, to: *mut libc::stat, flags: c_int, behind: Behind) -> c_int {
    // SAFETY: the caller keeps the contract of fstatat.
    unsafe {
        match look(arg.path) {
            Look::Outside => behind.by_path(arg.dirfd, arg.path, to, flags),
            seen => staged(seen, arg, to, flags, behind),
        }
    }
}

/// # Safety
/// As fstatat, and `seen` as in [`read_after`].
#[inline(never)]
unsafe fn staged(
    seen: Look,
    arg: PathArg,
    to: *mut libc::stat,
    flags: c_int,
    behind: Behind,
) -> c_int {
    // SAFETY: the caller keeps the contract of fstatat.
    unsafe {
        if flags & !KNOWN_FLAGS != 0 {
            let by_path = |d, p| behind.by_path(d, p, to, flags);
            return original(arg, EmptyPath::by_flags(flags), by_path);
        }
        if flags & AT_EMPTY_PATH != 0 && arg.dirfd >= 0 && is_empty(arg.path) {
            return attributes_of_fd(arg.dirfd, to, KERNEL);
        }
        read_after(seen, arg, Want::Attributes, |answer| match answer {
            Answer::Pass(dirfd, path) => behind.by_path(dirfd, path, to, flags),
            Answer::Absent(e) => sys::fail(e),
            Answer::Redirect(_) if to.is_null() => sys::fail(libc::EFAULT),
            Answer::Redirect(e) => {
                to.write(fill(&e.stat()));
                0
            }
        })
    }
}

/// Writes the attributes of a descriptor into `to`.
///
/// # Safety
/// As fstat.
#[inline]
unsafe fn attributes_of_fd(fd: c_int, to: *mut libc::stat, behind: Behind) -> c_int {
    // SAFETY: the kernel checks the pointer.
    let r = unsafe { behind.by_fd(fd, to) };
    if r != 0 {
        return r;
    }
    let Some(stage) = stage() else { return 0 };
    // SAFETY: the call succeeded and filled `to`.
    if unsafe { (*to).st_dev } == stage.dev {
        show_original(stage, fd, to);
    }
    0
}

/// Replaces the attributes of a staged file, which the kernel has just written, by the original's.
#[inline(never)]
fn show_original(stage: &Stage, fd: c_int, to: *mut libc::stat) {
    // SAFETY: the kernel has just filled `to`.
    let st = unsafe { *to };
    if let Some(e) = current(fd, Some(&st)) {
        // SAFETY: the kernel has just written to `to`.
        unsafe { to.write(fill(&e.stat())) };
        return;
    }
    match original_now(stage, fd) {
        // SAFETY: as above.
        Some(Now::Original(now)) => unsafe { to.write(now) },
        // SAFETY: as above.
        Some(Now::Gone(was)) => unsafe { to.write(fill(&was)) },
        None => {}
    }
}

/// [`show_original`] for statx.
///
/// # Safety
/// The kernel must have filled `to`.
#[inline(never)]
unsafe fn show_original_x(stage: &Stage, fd: c_int, mask: c_uint, to: *mut libc::statx) {
    // SAFETY: the caller guarantees that `to` can be written.
    let put = |s: &Stat| unsafe { to.write(fill_x(s)) };
    if let Some(e) = current(fd, None) {
        return put(&e.stat());
    }
    match original_now(stage, fd) {
        Some(Now::Original(_)) => {
            let mut buf = [0; PATH_MAX];
            let Some(path) = stage.c_path_of_fd(fd, &mut buf) else { return };
            let (cwd, flags) = (AT_FDCWD as usize, AT_SYMLINK_NOFOLLOW as usize);
            let a = [cwd, path.as_ptr() as usize, flags, mask as usize, to as usize, 0];
            // If the call fails, the staged file's attributes stay. SAFETY: `path` is a C string, and the kernel has
            // written to `to` before.
            let _ = unsafe { sys::syscall(libc::SYS_statx, a) };
        }
        Some(Now::Gone(was)) => put(&was),
        None => {}
    }
}

/// The file of a redirected descriptor whose path diverged after the open.
enum Now {
    /// The original, with its present attributes.
    Original(libc::stat),
    /// A file that the path no longer names, with the recorded attributes.
    Gone(Stat),
}

/// Finds the present state of the original of a redirected descriptor whose path diverged.
#[inline(never)]
fn original_now(stage: &Stage, fd: c_int) -> Option<Now> {
    let mut buf = [0; PATH_MAX];
    let path = stage.c_path_of_fd(fd, &mut buf)?;
    let e = stage.index().lookup(path.to_bytes())?;
    let mut was = e.stat();
    // SAFETY: `path` is a C string.
    match unsafe { sys::lstat(path.as_ptr()) } {
        Ok(now) if (now.st_dev, now.st_ino) == (was.dev, was.ino) => Some(Now::Original(now)),
        _ => {
            // One name of the file is gone. The number of other names that are left is unknown.
            was.nlink = if e.kind() == Kind::Directory { 0 } else { was.nlink.saturating_sub(1) };
            Some(Now::Gone(was))
        }
    }
}

// The first argument of `__xstat` and its variants is the version of the structure. 64-bit systems have only one
// version.
stat_hooks! {
    fn stat, stat64(path: *const c_char, to: *mut libc::stat)
        = |behind: Path| attributes(PathArg::followed(path), to, 0, behind);
    fn lstat, lstat64(path: *const c_char, to: *mut libc::stat)
        = |behind: Path| attributes(PathArg::unfollowed(path), to, AT_SYMLINK_NOFOLLOW, behind);
    fn fstatat, fstatat64(dirfd: c_int, path: *const c_char, to: *mut libc::stat, flags: c_int)
        = |behind: At| attributes(PathArg::by_flags(dirfd, path, flags), to, flags, behind);
    fn fstat, fstat64(fd: c_int, to: *mut libc::stat)
        = |behind: Fd| attributes_of_fd(fd, to, behind);
    fn __xstat, __xstat64(_version: c_int, path: *const c_char, to: *mut libc::stat)
        = |behind: VersionPath| attributes(PathArg::followed(path), to, 0, behind);
    fn __lxstat, __lxstat64(_version: c_int, path: *const c_char, to: *mut libc::stat)
        = |behind: VersionPath| attributes(PathArg::unfollowed(path), to, AT_SYMLINK_NOFOLLOW, behind);
    fn __fxstatat, __fxstatat64(_version: c_int, dirfd: c_int, path: *const c_char, to: *mut libc::stat, flags: c_int)
        = |behind: VersionAt| attributes(PathArg::by_flags(dirfd, path, flags), to, flags, behind);
    fn __fxstat, __fxstat64(_version: c_int, fd: c_int, to: *mut libc::stat)
        = |behind: VersionFd| attributes_of_fd(fd, to, behind);
}

exports! {
    fn statx(dirfd: c_int, path: *const c_char, flags: c_int, mask: c_uint, to: *mut libc::statx) -> c_int
        = attributes_x(PathArg::by_flags(dirfd, path, flags), flags, mask, to);
    fn ftok(path: *const c_char, id: c_int) -> libc::key_t = key(path, id);
}

/// Writes the attributes of a path into a `struct statx`.
///
/// # Safety
/// As statx.
unsafe fn attributes_x(arg: PathArg, flags: c_int, mask: c_uint, to: *mut libc::statx) -> c_int {
    let kernel = |dirfd: c_int, path: *const c_char| {
        let a = [dirfd as usize, path as usize, flags as usize, mask as usize, to as usize, 0];
        // SAFETY: the kernel checks the pointers.
        sys::ret(unsafe { sys::syscall(libc::SYS_statx, a) })
    };
    // SAFETY: the caller keeps the contract of statx.
    unsafe {
        if !is_known(flags, mask) {
            return original(arg, EmptyPath::by_flags(flags), kernel);
        }
        if flags & AT_EMPTY_PATH != 0 && arg.dirfd >= 0 && is_empty(arg.path) {
            let r = kernel(arg.dirfd, arg.path);
            let dev = || libc::makedev((*to).stx_dev_major, (*to).stx_dev_minor);
            if r == 0
                && let Some(stage) = stage()
                && stage.dev == dev()
            {
                show_original_x(stage, arg.dirfd, mask, to);
            }
            return r;
        }
        read(arg, Want::Attributes, |answer| match answer {
            Answer::Pass(dirfd, path) => kernel(dirfd, path),
            Answer::Absent(e) => sys::fail(e),
            Answer::Redirect(_) if to.is_null() => sys::fail(libc::EFAULT),
            Answer::Redirect(e) => {
                to.write(fill_x(&e.stat()));
                0
            }
        })
    }
}

/// Computes the key of ftok from a file's inode and device numbers. libc's ftok asks the kernel for the numbers without
/// reaching a hook.
///
/// # Safety
/// As ftok.
unsafe fn key(path: *const c_char, id: c_int) -> libc::key_t {
    // SAFETY: a struct of integers may be zero.
    let mut st: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the caller guarantees the path.
    if unsafe { stat_at(AT_FDCWD, path, &raw mut st, 0) } < 0 {
        return -1;
    }
    ((st.st_ino & 0xffff) | ((st.st_dev & 0xff) << 16) | ((id as u64 & 0xff) << 24)) as libc::key_t
}
