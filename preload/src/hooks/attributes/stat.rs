//! The stat family, answered from the index without a system call.
//!
//! `stat` and its kin are exported symbols only since glibc 2.33, `__xstat` and its kin are hidden ones since then,
//! and `statx` came with 2.28: where what stands behind has no such function, the kernel is asked instead. What stands
//! behind may be more than libc, a profiler that counts calls. The layouts of `struct stat` and `struct stat64` are one and the kernel's own on both architectures.
//!
//! A descriptor of a staged file reports the original's attributes: stat and fstat agree.

use core::ffi::{c_char, c_int, c_uint};

use libc::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use pyshm_format::{Entry, Kind, Stat};

use crate::hooks::attributes::stat_behind::Behind;
use crate::hooks::attributes::stat_behind::KERNEL;
use crate::hooks::attributes::stat_behind::behind;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::fast_path::passes;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::path::resolve::bytes;
use pyshm_core::path::resolve::original;
use pyshm_core::stage::current::stage;

/// The flags that this file knows the meaning of; what others mean, or that there is none, the kernel says.
const KNOWN_FLAGS: c_int =
    AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_SYNC_TYPE;

/// Whether statx takes these flags and this mask.
fn is_known(flags: c_int, mask: c_uint) -> bool {
    flags & !KNOWN_FLAGS == 0
        && flags & libc::AT_STATX_SYNC_TYPE != libc::AT_STATX_SYNC_TYPE
        && mask & libc::STATX__RESERVED as c_uint == 0
}

/// `struct stat` of an entry.
fn fill(s: &Stat) -> libc::stat {
    // SAFETY: a struct of integers may be all zero; its padding fields have no constructor.
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

/// `struct statx` of an entry.
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

/// The entry behind a descriptor, unless it diverged since it was opened.
fn current(fd: c_int, st: Option<&libc::stat>) -> Option<Entry<'static>> {
    let stage = stage()?;
    let hint = st.and_then(|st| stage.hint(fd, st));
    let e = hint.or_else(|| stage.entry_of_fd(fd))?;
    let listing = e.kind() == Kind::Directory && stage.view.listing_diverged(&e);
    (!listing && !stage.view.diverged.has(pyshm_format::state::Mark::Path, e.hash())).then_some(e)
}

/// Whether a path is none, as AT_EMPTY_PATH asks.
///
/// # Safety
/// `path` as in [`bytes`].
unsafe fn is_empty(path: *const c_char) -> bool {
    // SAFETY: by the caller's word.
    path.is_null() || unsafe { bytes(path) }.is_some_and(<[u8]>::is_empty)
}

/// stat and its kin, whatever stands behind us.
///
/// # Safety
/// As fstatat.
#[inline]
pub(crate) unsafe fn stat_at(
    dirfd: c_int,
    path: *const c_char,
    to: *mut libc::stat,
    flags: c_int,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe { attributes(dirfd, path, to, flags, KERNEL) }
}

/// The same for fstat.
///
/// # Safety
/// As fstat.
#[inline]
pub(crate) unsafe fn stat_fd(fd: c_int, to: *mut libc::stat) -> c_int {
    // SAFETY: by the caller's word.
    unsafe { attributes_of(fd, to, KERNEL) }
}

/// # Safety
/// As stat.
#[inline]
unsafe fn attributes(
    dirfd: c_int,
    path: *const c_char,
    to: *mut libc::stat,
    flags: c_int,
    behind: Behind,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe {
        if passes(path) {
            behind.by_path(dirfd, path, to, flags)
        } else {
            staged(dirfd, path, to, flags, behind)
        }
    }
}

/// # Safety
/// As stat.
#[inline(never)]
unsafe fn staged(
    dirfd: c_int,
    path: *const c_char,
    to: *mut libc::stat,
    flags: c_int,
    behind: Behind,
) -> c_int {
    let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
    if flags & !KNOWN_FLAGS != 0 {
        let empty = flags & AT_EMPTY_PATH != 0;
        // SAFETY: by the caller's word.
        return unsafe {
            original(dirfd, path, follow, empty, |d, p| behind.by_path(d, p, to, flags))
        };
    }
    if flags & AT_EMPTY_PATH != 0 && dirfd >= 0 {
        // SAFETY: by the caller's word.
        if unsafe { is_empty(path) } {
            // SAFETY: by the caller's word.
            return unsafe { attributes_of(dirfd, to, KERNEL) };
        }
    }
    // SAFETY: by the caller's word.
    unsafe {
        ask(dirfd, path, follow, Want::Attributes, |answer| match answer {
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

/// # Safety
/// As fstat.
#[inline]
unsafe fn attributes_of(fd: c_int, to: *mut libc::stat, behind: Behind) -> c_int {
    // SAFETY: the kernel checks the pointer.
    let r = unsafe { behind.by_fd(fd, to) };
    if r != 0 {
        return r;
    }
    let Some(stage) = stage() else { return 0 };
    // SAFETY: the kernel filled it.
    if unsafe { (*to).st_dev } == stage.dev {
        redo(stage, fd, to);
    }
    0
}

/// The original's attributes in place of the stage's.
#[inline(never)]
fn redo(stage: &pyshm_core::stage::mapped::Stage, fd: c_int, to: *mut libc::stat) {
    // SAFETY: the kernel has just filled it.
    let st = unsafe { *to };
    if let Some(e) = current(fd, Some(&st)) {
        // SAFETY: the kernel has just written there.
        unsafe { to.write(fill(&e.stat())) };
        return;
    }
    match diverged(stage, fd) {
        // SAFETY: as above.
        Some(Now::Original(now)) => unsafe { to.write(now) },
        // SAFETY: as above.
        Some(Now::Gone(was)) => unsafe { to.write(fill(&was)) },
        None => {}
    }
}

/// The same for statx.
///
/// # Safety
/// The kernel has filled `to`.
#[inline(never)]
unsafe fn redo_x(
    stage: &pyshm_core::stage::mapped::Stage,
    fd: c_int,
    mask: c_uint,
    to: *mut libc::statx,
) {
    // SAFETY: by the caller's word.
    let put = |s: &Stat| unsafe { to.write(fill_x(s)) };
    if let Some(e) = current(fd, None) {
        return put(&e.stat());
    }
    match diverged(stage, fd) {
        Some(Now::Original(_)) => {
            let mut buf = [0; pyshm_core::base::scratch::PATH_MAX];
            let Some(path) = stage.c_path_of_fd(fd, &mut buf) else { return };
            let (cwd, flags) = (AT_FDCWD as usize, AT_SYMLINK_NOFOLLOW as usize);
            let a = [cwd, path.as_ptr() as usize, flags, mask as usize, to as usize, 0];
            // SAFETY: a C string of ours; the kernel has written to `to` before. A failure leaves it as it is.
            let _ = unsafe { sys::syscall(libc::SYS_statx, a) };
        }
        Some(Now::Gone(was)) => put(&was),
        None => {}
    }
}

/// What stands behind the descriptor of an entry that diverged since it was opened.
enum Now {
    /// The original, as it is now.
    Original(libc::stat),
    /// What the path no longer names.
    Gone(Stat),
}

/// What the original of such a descriptor is now.
#[inline(never)]
fn diverged(stage: &pyshm_core::stage::mapped::Stage, fd: c_int) -> Option<Now> {
    let mut buf = [0; pyshm_core::base::scratch::PATH_MAX];
    let path = stage.c_path_of_fd(fd, &mut buf)?;
    let e = stage.index().lookup(path.to_bytes())?;
    let mut was = e.stat();
    // SAFETY: a C string.
    match unsafe { sys::lstat(path.as_ptr()) } {
        Ok(now) if (now.st_dev, now.st_ino) == (was.dev, was.ino) => Some(Now::Original(now)),
        _ => {
            // Another name may be left, nobody knows of how many.
            was.nlink = if e.kind() == Kind::Directory { 0 } else { was.nlink.saturating_sub(1) };
            Some(Now::Gone(was))
        }
    }
}

exports! {
    unsafe fn stat(path: *const c_char, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(AT_FDCWD, path, to, 0, behind!(stat, Path)) }
    }
    unsafe fn stat64(path: *const c_char, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(AT_FDCWD, path, to, 0, behind!(stat64, Path)) }
    }
    unsafe fn lstat(path: *const c_char, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(AT_FDCWD, path, to, AT_SYMLINK_NOFOLLOW, behind!(lstat, Path)) }
    }
    unsafe fn lstat64(path: *const c_char, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(AT_FDCWD, path, to, AT_SYMLINK_NOFOLLOW, behind!(lstat64, Path)) }
    }
    unsafe fn fstatat(dirfd: c_int, path: *const c_char, to: *mut libc::stat, flags: c_int) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(dirfd, path, to, flags, behind!(fstatat, At)) }
    }
    unsafe fn fstatat64(dirfd: c_int, path: *const c_char, to: *mut libc::stat, flags: c_int) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(dirfd, path, to, flags, behind!(fstatat64, At)) }
    }
    unsafe fn fstat(fd: c_int, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes_of(fd, to, behind!(fstat, Fd)) }
    }
    unsafe fn fstat64(fd: c_int, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes_of(fd, to, behind!(fstat64, Fd)) }
    }
    // The first argument is the version of the structure; 64-bit systems have only one.
    unsafe fn __xstat(_version: c_int, path: *const c_char, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(AT_FDCWD, path, to, 0, behind!(__xstat, VersionPath)) }
    }
    unsafe fn __xstat64(_version: c_int, path: *const c_char, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(AT_FDCWD, path, to, 0, behind!(__xstat64, VersionPath)) }
    }
    unsafe fn __lxstat(_version: c_int, path: *const c_char, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(AT_FDCWD, path, to, AT_SYMLINK_NOFOLLOW, behind!(__lxstat, VersionPath)) }
    }
    unsafe fn __lxstat64(_version: c_int, path: *const c_char, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(AT_FDCWD, path, to, AT_SYMLINK_NOFOLLOW, behind!(__lxstat64, VersionPath)) }
    }
    unsafe fn __fxstat(_version: c_int, fd: c_int, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes_of(fd, to, behind!(__fxstat, VersionFd)) }
    }
    unsafe fn __fxstat64(_version: c_int, fd: c_int, to: *mut libc::stat) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes_of(fd, to, behind!(__fxstat64, VersionFd)) }
    }
    unsafe fn __fxstatat(_v: c_int, dirfd: c_int, path: *const c_char, to: *mut libc::stat, flags: c_int) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(dirfd, path, to, flags, behind!(__fxstatat, VersionAt)) }
    }
    unsafe fn __fxstatat64(_v: c_int, dirfd: c_int, path: *const c_char, to: *mut libc::stat, flags: c_int) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { attributes(dirfd, path, to, flags, behind!(__fxstatat64, VersionAt)) }
    }
    // libc's own asks for the file's numbers by itself.
    unsafe fn ftok(path: *const c_char, id: c_int) -> libc::key_t {
        // SAFETY: a struct of integers may be all zero.
        let mut st: libc::stat = unsafe { core::mem::zeroed() };
        // SAFETY: the caller's own path.
        if unsafe { stat_at(AT_FDCWD, path, &raw mut st, 0) } < 0 {
            return -1;
        }
        ((st.st_ino & 0xffff) | ((st.st_dev & 0xff) << 16) | ((id as u64 & 0xff) << 24)) as libc::key_t
    }
    unsafe fn statx(dirfd: c_int, path: *const c_char, flags: c_int, mask: c_uint, to: *mut libc::statx) -> c_int {
        let kernel = |dirfd: c_int, path: *const c_char| {
            let a = [dirfd as usize, path as usize, flags as usize, mask as usize, to as usize, 0];
            // SAFETY: the kernel checks the pointers.
            sys::ret(unsafe { sys::syscall(libc::SYS_statx, a) })
        };
        let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
        // SAFETY: the caller's own arguments.
        unsafe {
            if !is_known(flags, mask) {
                return original(dirfd, path, follow, flags & AT_EMPTY_PATH != 0, kernel);
            }
            if flags & AT_EMPTY_PATH != 0 && dirfd >= 0 && is_empty(path) {
                let r = kernel(dirfd, path);
                let dev = || libc::makedev((*to).stx_dev_major, (*to).stx_dev_minor);
                if r == 0 && let Some(stage) = stage() && stage.dev == dev() {
                    redo_x(stage, dirfd, mask, to);
                }
                return r;
            }
            ask(dirfd, path, follow, Want::Attributes, |answer| match answer {
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
}
