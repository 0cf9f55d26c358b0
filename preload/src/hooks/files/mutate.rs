//! Calls that change names, attributes or data by path: the original is changed, and what it changes is marked
//! diverged before ([`crate::mark`]). Calls that change attributes through a staged file's descriptor are done
//! again on the original's path.

use core::ffi::{c_char, c_int, c_uint, c_void};

use libc::{
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, dev_t, gid_t, mode_t, off_t, size_t, uid_t,
};

use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::path::resolve::bytes;
use pyshm_core::path::resolve::original;
use pyshm_core::path::writes::Names;
use pyshm_core::path::writes::one;
use pyshm_core::path::writes::two;
use pyshm_core::stage::current::stage;

hooks! {
    unsafe fn mkdir(path: *const c_char, mode: mode_t) -> c_int => my_mkdir {
        // SAFETY: the caller's own arguments.
        unsafe { make(AT_FDCWD, path, |_, p| real!(mkdir)(p, mode)) }
    }
    unsafe fn mkdirat(dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int => my_mkdirat {
        // SAFETY: the caller's own arguments.
        unsafe { make(dirfd, path, |d, p| real!(mkdirat)(d, p, mode)) }
    }
    unsafe fn rmdir(path: *const c_char) -> c_int => my_rmdir {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, false, Names::Change, |_, p| real!(rmdir)(p)) }
    }
    unsafe fn unlink(path: *const c_char) -> c_int => my_unlink {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, false, Names::Change, |_, p| real!(unlink)(p)) }
    }
    unsafe fn unlinkat(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int => my_unlinkat {
        // SAFETY: the caller's own arguments.
        unsafe { one(dirfd, path, false, Names::Change, |d, p| real!(unlinkat)(d, p, flags)) }
    }
    unsafe fn remove(path: *const c_char) -> c_int => my_remove {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, false, Names::Change, |_, p| real!(remove)(p)) }
    }
    unsafe fn mkfifo(path: *const c_char, mode: mode_t) -> c_int => my_mkfifo {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, false, Names::Change, |_, p| real!(mkfifo)(p, mode)) }
    }
    unsafe fn mkfifoat(dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int => my_mkfifoat {
        // SAFETY: the caller's own arguments.
        unsafe { one(dirfd, path, false, Names::Change, |d, p| real!(mkfifoat)(d, p, mode)) }
    }
    unsafe fn chmod(path: *const c_char, mode: mode_t) -> c_int => my_chmod {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, true, modes(mode), |_, p| real!(chmod)(p, mode)) }
    }
    unsafe fn lchmod(path: *const c_char, mode: mode_t) -> c_int => my_lchmod {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, false, modes(mode), |_, p| real!(lchmod)(p, mode)) }
    }
    unsafe fn fchmodat(dirfd: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int => my_fchmodat {
        // SAFETY: the caller's own arguments.
        unsafe {
            one(dirfd, path, flags & AT_SYMLINK_NOFOLLOW == 0, modes(mode), |_, _| ());
            at(dirfd, path, flags, |d, p, f| real!(fchmodat)(d, p, mode, f))
        }
    }
    unsafe fn chown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int => my_chown {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, true, Names::Same, |_, p| real!(chown)(p, uid, gid)) }
    }
    unsafe fn lchown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int => my_lchown {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, false, Names::Same, |_, p| real!(lchown)(p, uid, gid)) }
    }
    unsafe fn fchownat(dirfd: c_int, path: *const c_char, uid: uid_t, gid: gid_t, flags: c_int) -> c_int => my_fchownat {
        // SAFETY: the caller's own arguments.
        unsafe { at(dirfd, path, flags, |d, p, f| real!(fchownat)(d, p, uid, gid, f)) }
    }
    unsafe fn truncate(path: *const c_char, len: off_t) -> c_int => my_truncate {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, true, Names::Same, |_, p| real!(truncate)(p, len)) }
    }
    unsafe fn truncate64(path: *const c_char, len: off_t) -> c_int => my_truncate64 {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, true, Names::Same, |_, p| real!(truncate64)(p, len)) }
    }
    unsafe fn utime(path: *const c_char, times: *const c_void) -> c_int => my_utime {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, true, Names::Same, |_, p| real!(utime)(p, times)) }
    }
    unsafe fn utimes(path: *const c_char, times: *const c_void) -> c_int => my_utimes {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, true, Names::Same, |_, p| real!(utimes)(p, times)) }
    }
    unsafe fn lutimes(path: *const c_char, times: *const c_void) -> c_int => my_lutimes {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, false, Names::Same, |_, p| real!(lutimes)(p, times)) }
    }
    unsafe fn futimesat(dirfd: c_int, path: *const c_char, times: *const c_void) -> c_int => my_futimesat {
        // SAFETY: the caller's own arguments.
        unsafe { one(dirfd, path, true, Names::Same, |d, p| real!(futimesat)(d, p, times)) }
    }
    unsafe fn utimensat(dirfd: c_int, path: *const c_char, times: *const c_void, flags: c_int) -> c_int => my_utimensat {
        // SAFETY: the caller's own arguments.
        unsafe { at(dirfd, path, flags, |d, p, f| real!(utimensat)(d, p, times, f)) }
    }
    unsafe fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int => my_setxattr {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, true, Names::Same, |_, p| real!(setxattr)(p, name, value, size, flags)) }
    }
    unsafe fn lsetxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int => my_lsetxattr {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, false, Names::Same, |_, p| real!(lsetxattr)(p, name, value, size, flags)) }
    }
    unsafe fn removexattr(path: *const c_char, name: *const c_char) -> c_int => my_removexattr {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, true, Names::Same, |_, p| real!(removexattr)(p, name)) }
    }
    unsafe fn lremovexattr(path: *const c_char, name: *const c_char) -> c_int => my_lremovexattr {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, false, Names::Same, |_, p| real!(lremovexattr)(p, name)) }
    }
    unsafe fn rename(old: *const c_char, new: *const c_char) -> c_int => my_rename {
        let (from, to) = ((AT_FDCWD, old, Names::Move), (AT_FDCWD, new, Names::Move));
        // SAFETY: the caller's own arguments.
        unsafe { two(from, to, false, |_, old, _, new| real!(rename)(old, new)) }
    }
    unsafe fn renameat(old_fd: c_int, old: *const c_char, new_fd: c_int, new: *const c_char) -> c_int => my_renameat {
        let (from, to) = ((old_fd, old, Names::Move), (new_fd, new, Names::Move));
        // SAFETY: the caller's own arguments.
        unsafe { two(from, to, false, |a, old, b, new| real!(renameat)(a, old, b, new)) }
    }
    unsafe fn link(old: *const c_char, new: *const c_char) -> c_int => my_link {
        let (from, to) = ((AT_FDCWD, old, Names::Same), (AT_FDCWD, new, Names::Change));
        // SAFETY: the caller's own arguments.
        unsafe { two(from, to, false, |_, old, _, new| real!(link)(old, new)) }
    }
    unsafe fn linkat(old_fd: c_int, old: *const c_char, new_fd: c_int, new: *const c_char, flags: c_int) -> c_int => my_linkat {
        let follow = flags & libc::AT_SYMLINK_FOLLOW != 0;
        // SAFETY: the caller's own arguments. The old name may be a descriptor alone.
        unsafe {
            original(old_fd, old, follow, flags & AT_EMPTY_PATH != 0, |old_fd, old| {
                let (from, to) = ((old_fd, old, Names::Same), (new_fd, new, Names::Change));
                two(from, to, follow, |a, old, b, new| real!(linkat)(a, old, b, new, flags))
            })
        }
    }
    unsafe fn symlink(target: *const c_char, path: *const c_char) -> c_int => my_symlink {
        // SAFETY: the caller's own arguments.
        unsafe { one(AT_FDCWD, path, false, Names::Change, |_, p| real!(symlink)(target, p)) }
    }
    unsafe fn symlinkat(target: *const c_char, dirfd: c_int, path: *const c_char) -> c_int => my_symlinkat {
        // SAFETY: the caller's own arguments.
        unsafe { one(dirfd, path, false, Names::Change, |d, p| real!(symlinkat)(target, d, p)) }
    }
    unsafe fn fchmod(fd: c_int, mode: mode_t) -> c_int => my_fchmod {
        // SAFETY: the caller's own arguments; `again` gives a C string.
        unsafe { again(fd, |p| one(AT_FDCWD, p, true, modes(mode), |_, p| real!(chmod)(p, mode)), || real!(fchmod)(fd, mode)) }
    }
    unsafe fn fchown(fd: c_int, uid: uid_t, gid: gid_t) -> c_int => my_fchown {
        // SAFETY: as above.
        unsafe { again(fd, |p| real!(chown)(p, uid, gid), || real!(fchown)(fd, uid, gid)) }
    }
    unsafe fn futimens(fd: c_int, times: *const c_void) -> c_int => my_futimens {
        // SAFETY: as above.
        unsafe { again(fd, |p| real!(utimensat)(AT_FDCWD, p, times, 0), || real!(futimens)(fd, times)) }
    }
    unsafe fn futimes(fd: c_int, times: *const c_void) -> c_int => my_futimes {
        // SAFETY: as above.
        unsafe { again(fd, |p| real!(utimes)(p, times), || real!(futimes)(fd, times)) }
    }
    unsafe fn fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int => my_fsetxattr {
        // SAFETY: as above.
        unsafe {
            again(fd, |p| real!(setxattr)(p, name, value, size, flags),
                || real!(fsetxattr)(fd, name, value, size, flags))
        }
    }
    unsafe fn fremovexattr(fd: c_int, name: *const c_char) -> c_int => my_fremovexattr {
        // SAFETY: as above.
        unsafe { again(fd, |p| real!(removexattr)(p, name), || real!(fremovexattr)(fd, name)) }
    }
}

/// Makes a directory. What is there already changes nothing: `mkdir -p` comes through every directory on its way.
///
/// # Safety
/// As mkdirat.
unsafe fn make(
    dirfd: c_int,
    path: *const c_char,
    real: impl FnOnce(c_int, *const c_char) -> c_int,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe {
        let known =
            ask(dirfd, path, false, Want::Name, |answer| matches!(answer, Answer::Redirect(_)));
        if known {
            return sys::fail(libc::EEXIST);
        }
        one(dirfd, path, false, Names::Change, real)
    }
}

/// What a new mode does to the names below a directory: only its owner, or root, has this stage.
fn modes(mode: mode_t) -> Names {
    if mode & libc::S_IXUSR == 0 { Names::Search } else { Names::Same }
}

/// Changes attributes of a path, or with AT_EMPTY_PATH of a descriptor, by `real`.
///
/// # Safety
/// `path` as in [`crate::paths::bytes`].
pub(crate) unsafe fn at(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    real: impl Fn(c_int, *const c_char, c_int) -> c_int,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe {
        if flags & AT_EMPTY_PATH != 0 && bytes(path).is_some_and(<[u8]>::is_empty) {
            return again(dirfd, |p| real(AT_FDCWD, p, 0), || real(dirfd, path, flags));
        }
        let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
        one(dirfd, path, follow, Names::Same, |d, p| real(d, p, flags))
    }
}

/// Calls `by_path` with the original's path, marked diverged, if `fd` is a staged file, else `by_fd`.
pub(crate) fn again(
    fd: c_int,
    by_path: impl FnOnce(*const c_char) -> c_int,
    by_fd: impl FnOnce() -> c_int,
) -> c_int {
    match stage() {
        Some(stage) if sys::fstat(fd).is_ok_and(|st| st.st_dev == stage.dev) => {
            let mut buf = [0; PATH_MAX];
            match stage.c_path_of_fd(fd, &mut buf) {
                // Where what was opened is now, if anywhere, is not known; what took its name is not changed for it.
                Some(path) if stage.is_replaced(path.to_bytes()) => sys::fail(libc::ENOENT),
                // SAFETY: a C string of ours.
                Some(path) => unsafe {
                    one(AT_FDCWD, path.as_ptr(), true, Names::Same, |_, p| by_path(p))
                },
                None => by_fd(),
            }
        }
        _ => by_fd(),
    }
}

// mknod, mknodat (2.33) and renameat2 (2.28) are missing in older libcs, __xmknod and __xmknodat hidden in newer
// ones; all of them are the system call and nothing else.
exports! {
    unsafe fn mknod(path: *const c_char, mode: mode_t, dev: dev_t) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { mknod_at(AT_FDCWD, path, mode, dev) }
    }
    unsafe fn mknodat(dirfd: c_int, path: *const c_char, mode: mode_t, dev: dev_t) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { mknod_at(dirfd, path, mode, dev) }
    }
    unsafe fn __xmknod(_version: c_int, path: *const c_char, mode: mode_t, dev: *const dev_t) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { mknod_at(AT_FDCWD, path, mode, *dev) }
    }
    unsafe fn __xmknodat(_version: c_int, dirfd: c_int, path: *const c_char, mode: mode_t, dev: *const dev_t) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { mknod_at(dirfd, path, mode, *dev) }
    }
    unsafe fn renameat2(old_fd: c_int, old: *const c_char, new_fd: c_int, new: *const c_char, flags: c_uint) -> c_int {
        let (from, to) = ((old_fd, old, Names::Move), (new_fd, new, Names::Move));
        // SAFETY: the caller's own arguments; the kernel checks the pointers.
        unsafe {
            two(from, to, false, |a, old, b, new| {
                sys::ret(sys::syscall(libc::SYS_renameat2, [a as usize, old as usize, b as usize, new as usize, flags as usize, 0]))
            })
        }
    }
}

/// # Safety
/// As mknodat.
unsafe fn mknod_at(dirfd: c_int, path: *const c_char, mode: mode_t, dev: dev_t) -> c_int {
    // SAFETY: by the caller's word; the kernel checks the pointer.
    unsafe {
        one(dirfd, path, false, Names::Change, |d, p| {
            sys::ret(sys::syscall(
                libc::SYS_mknodat,
                [d as usize, p as usize, mode as usize, dev as usize, 0, 0],
            ))
        })
    }
}
