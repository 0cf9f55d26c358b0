//! Hooks the calls that change names, attributes or data. A call by path marks its change as diverged and changes the
//! original ([`pyshm_core::path::writes`]). A call that changes attributes by a redirected descriptor is made on the
//! original's path.

use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

use libc::{AT_EMPTY_PATH, AT_FDCWD, dev_t, gid_t, mode_t, off_t, size_t, uid_t};
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::{Follow, Want};
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::change::Names;
use pyshm_core::path::originals::{EmptyPath, original};
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::path::writes::{write, write_two};
use pyshm_core::stage::current::stage;

// Calls that change names.
hooks! {
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int
        = |real| make_directory(AT_FDCWD, path, |_, p| real(p, mode));
    fn mkdirat(dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int
        = |real| make_directory(dirfd, path, |d, p| real(d, p, mode));
    fn rmdir, unlink, remove(path: *const c_char) -> c_int
        = |real| write(PathArg::unfollowed(path), Names::Removed, |_, p| real(p));
    fn unlinkat(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int
        = |real| write(PathArg::at(dirfd, path, Follow::No), Names::Removed, |d, p| real(d, p, flags));
    fn mkfifo(path: *const c_char, mode: mode_t) -> c_int
        = |real| add_name(AT_FDCWD, path, |_, p| real(p, mode));
    fn mkfifoat(dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int
        = |real| add_name(dirfd, path, |d, p| real(d, p, mode));
    fn symlink(target: *const c_char, path: *const c_char) -> c_int
        = |real| add_name(AT_FDCWD, path, |_, p| real(target, p));
    fn symlinkat(target: *const c_char, dirfd: c_int, path: *const c_char) -> c_int
        = |real| add_name(dirfd, path, |d, p| real(target, d, p));
    fn rename(old: *const c_char, new: *const c_char) -> c_int
        = |real| move_name((AT_FDCWD, old), (AT_FDCWD, new), 0, |_, old, _, new| real(old, new));
    fn renameat(old_fd: c_int, old: *const c_char, new_fd: c_int, new: *const c_char) -> c_int
        = |real| move_name((old_fd, old), (new_fd, new), 0, real);
    fn link(old: *const c_char, new: *const c_char) -> c_int
        = |real| add_link(PathArg::unfollowed(old), (AT_FDCWD, new), |_, old, _, new| real(old, new));
    fn linkat(old_fd: c_int, old: *const c_char, new_fd: c_int, new: *const c_char, flags: c_int) -> c_int
        = |real| link_at((old_fd, old), (new_fd, new), flags, |a, old, b, new| real(a, old, b, new, flags));
}

// Calls that change attributes and data by path.
hooks! {
    fn chmod(path: *const c_char, mode: mode_t) -> c_int
        = |real| write(PathArg::followed(path), mode_names(mode), |_, p| real(p, mode));
    fn lchmod(path: *const c_char, mode: mode_t) -> c_int
        = |real| write(PathArg::unfollowed(path), mode_names(mode), |_, p| real(p, mode));
    fn fchmodat(dirfd: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int
        = |real| change_at(dirfd, path, flags, mode_names(mode), |d, p, f| real(d, p, mode, f));
    fn chown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int
        = |real| change(PathArg::followed(path), |_, p| real(p, uid, gid));
    fn lchown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int
        = |real| change(PathArg::unfollowed(path), |_, p| real(p, uid, gid));
    fn fchownat(dirfd: c_int, path: *const c_char, uid: uid_t, gid: gid_t, flags: c_int) -> c_int
        = |real| change_at(dirfd, path, flags, Names::Same, |d, p, f| real(d, p, uid, gid, f));
    fn truncate, truncate64(path: *const c_char, len: off_t) -> c_int
        = |real| change(PathArg::followed(path), |_, p| real(p, len));
    fn utime, utimes(path: *const c_char, times: *const c_void) -> c_int
        = |real| change(PathArg::followed(path), |_, p| real(p, times));
    fn lutimes(path: *const c_char, times: *const c_void) -> c_int
        = |real| change(PathArg::unfollowed(path), |_, p| real(p, times));
    fn futimesat(dirfd: c_int, path: *const c_char, times: *const c_void) -> c_int
        = |real| change(PathArg::at(dirfd, path, Follow::Yes), |d, p| real(d, p, times));
    fn utimensat(dirfd: c_int, path: *const c_char, times: *const c_void, flags: c_int) -> c_int
        = |real| change_at(dirfd, path, flags, Names::Same, |d, p, f| real(d, p, times, f));
    fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int
        = |real| change(PathArg::followed(path), |_, p| real(p, name, value, size, flags));
    fn lsetxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int
        = |real| change(PathArg::unfollowed(path), |_, p| real(p, name, value, size, flags));
    fn removexattr(path: *const c_char, name: *const c_char) -> c_int
        = |real| change(PathArg::followed(path), |_, p| real(p, name));
    fn lremovexattr(path: *const c_char, name: *const c_char) -> c_int
        = |real| change(PathArg::unfollowed(path), |_, p| real(p, name));
}

/// Flags with which mount decides where later mounts appear (mount(2)). Such a call, like one with MS_REMOUNT, changes
/// nothing that a path leads to.
const PROPAGATION: c_ulong =
    libc::MS_PRIVATE | libc::MS_SHARED | libc::MS_SLAVE | libc::MS_UNBINDABLE;

// Mounts. Afterwards the mount point is the root of another tree.
hooks! {
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int
        = |real| original(PathArg::followed(source), EmptyPath::Refused, |_, source| {
            if flags & (PROPAGATION | libc::MS_REMOUNT) != 0 {
                return original(PathArg::followed(target), EmptyPath::Refused,
                    |_, target| real(source, target, kind, flags, data));
            }
            write(PathArg::followed(target), Names::Search, |_, p| real(source, p, kind, flags, data))
        });
    fn umount(target: *const c_char) -> c_int
        = |real| write(PathArg::followed(target), Names::Search, |_, p| real(p));
    fn umount2(target: *const c_char, flags: c_int) -> c_int
        = |real| write(PathArg::followed(target), Names::Search, |_, p| real(p, flags));
}

// Calls that change attributes by descriptor.
hooks! {
    fn fchmod(fd: c_int, mode: mode_t) -> c_int
        = |real| change_fd(fd, |p| chmod::hook(p, mode), || real(fd, mode));
    fn fchown(fd: c_int, uid: uid_t, gid: gid_t) -> c_int
        = |real| change_fd(fd, |p| chown::real()(p, uid, gid), || real(fd, uid, gid));
    fn futimens(fd: c_int, times: *const c_void) -> c_int
        = |real| change_fd(fd, |p| utimensat::real()(AT_FDCWD, p, times, 0), || real(fd, times));
    fn futimes(fd: c_int, times: *const c_void) -> c_int
        = |real| change_fd(fd, |p| utimes::real()(p, times), || real(fd, times));
    fn fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int
        = |real| change_fd(fd, |p| setxattr::real()(p, name, value, size, flags),
            || real(fd, name, value, size, flags));
    fn fremovexattr(fd: c_int, name: *const c_char) -> c_int
        = |real| change_fd(fd, |p| removexattr::real()(p, name), || real(fd, name));
}

// Older versions of glibc lack mknod and mknodat (before 2.33) and renameat2 (before 2.28), and newer versions hide
// __xmknod and __xmknodat. Each of them is a plain system call.
exports! {
    fn mknod(path: *const c_char, mode: mode_t, dev: dev_t) -> c_int = make_node(AT_FDCWD, path, mode, dev);
    fn mknodat(dirfd: c_int, path: *const c_char, mode: mode_t, dev: dev_t) -> c_int
        = make_node(dirfd, path, mode, dev);
    fn __xmknod(_version: c_int, path: *const c_char, mode: mode_t, dev: *const dev_t) -> c_int
        = make_node(AT_FDCWD, path, mode, *dev);
    fn __xmknodat(_version: c_int, dirfd: c_int, path: *const c_char, mode: mode_t, dev: *const dev_t) -> c_int
        = make_node(dirfd, path, mode, *dev);
    fn renameat2(old_fd: c_int, old: *const c_char, new_fd: c_int, new: *const c_char, flags: c_uint) -> c_int
        = move_name((old_fd, old), (new_fd, new), flags, |a, old, b, new| {
            let a = [a as usize, old as usize, b as usize, new as usize, flags as usize, 0];
            sys::ret(sys::syscall(libc::SYS_renameat2, a))
        });
}

/// A directory's descriptor and a path.
type At = (c_int, *const c_char);

/// Makes a directory by `real`. If the index has the name, fails with EEXIST and sets no mark. Otherwise `mkdir -p`,
/// which tries every directory on its way, would mark them all.
///
/// # Safety
/// `path` as mkdirat requires.
unsafe fn make_directory(
    dirfd: c_int,
    path: *const c_char,
    real: impl FnOnce(c_int, *const c_char) -> c_int,
) -> c_int {
    let arg = PathArg::at(dirfd, path, Follow::No);
    // SAFETY: the caller guarantees the path.
    unsafe {
        if read(arg, Want::Name, |answer| matches!(answer, Answer::Redirect(_))) {
            return sys::fail(libc::EEXIST);
        }
        write(arg, Names::Added, real)
    }
}

/// Makes a special file by the system call.
///
/// # Safety
/// `path` as mknodat requires.
unsafe fn make_node(dirfd: c_int, path: *const c_char, mode: mode_t, dev: dev_t) -> c_int {
    // SAFETY: the caller guarantees the path, and the kernel checks the pointer.
    unsafe {
        add_name(dirfd, path, |d, p| {
            let a = [d as usize, p as usize, mode as usize, dev as usize, 0, 0];
            sys::ret(sys::syscall(libc::SYS_mknodat, a))
        })
    }
}

/// Adds a name by `real`.
///
/// # Safety
/// `path` as the real function requires.
unsafe fn add_name(
    dirfd: c_int,
    path: *const c_char,
    real: impl FnOnce(c_int, *const c_char) -> c_int,
) -> c_int {
    // SAFETY: the caller guarantees the path.
    unsafe { write(PathArg::at(dirfd, path, Follow::No), Names::Added, real) }
}

/// Moves a name by `real`, with the flags of renameat2. If the name is a directory, everything below it moves too.
///
/// # Safety
/// Both paths as renameat requires.
unsafe fn move_name(
    old: At,
    new: At,
    flags: c_uint,
    real: impl FnOnce(c_int, *const c_char, c_int, *const c_char) -> c_int,
) -> c_int {
    let (old, new) = (PathArg::at(old.0, old.1, Follow::No), PathArg::at(new.0, new.1, Follow::No));
    let (from, to) = if flags & libc::RENAME_EXCHANGE != 0 {
        (Names::Exchanged, Names::Exchanged)
    } else {
        (Names::MovedAway, Names::MovedHere)
    };
    // SAFETY: the caller guarantees the paths.
    unsafe { write_two((old, from), (new, to), real) }
}

/// Adds a hard link by `real`. The old file's link count changes, and a name is added.
///
/// # Safety
/// Both paths as linkat requires.
unsafe fn add_link(
    old: PathArg,
    new: At,
    real: impl FnOnce(c_int, *const c_char, c_int, *const c_char) -> c_int,
) -> c_int {
    let new = PathArg::at(new.0, new.1, Follow::No);
    // SAFETY: the caller guarantees the paths.
    unsafe { write_two((old, Names::Same), (new, Names::Added), real) }
}

/// The hook of linkat. With AT_EMPTY_PATH the old name may be a descriptor.
///
/// # Safety
/// Both paths as linkat requires.
unsafe fn link_at(
    old: At,
    new: At,
    flags: c_int,
    real: impl FnOnce(c_int, *const c_char, c_int, *const c_char) -> c_int,
) -> c_int {
    let follow = Follow::unless(flags & libc::AT_SYMLINK_FOLLOW == 0);
    // SAFETY: the caller guarantees the paths.
    unsafe {
        original(PathArg::at(old.0, old.1, follow), EmptyPath::by_flags(flags), |old_fd, old| {
            add_link(PathArg::at(old_fd, old, follow), new, real)
        })
    }
}

/// Changes data or attributes of a path by `real`.
///
/// # Safety
/// `arg.path` as the real function requires.
unsafe fn change(arg: PathArg, real: impl FnOnce(c_int, *const c_char) -> c_int) -> c_int {
    // SAFETY: the caller guarantees the path.
    unsafe { write(arg, Names::Same, real) }
}

/// Changes attributes of a path or, with AT_EMPTY_PATH, of a descriptor. `real` gets a directory, a path and flags.
///
/// # Safety
/// `path` as the real function requires.
pub unsafe fn change_at(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    names: Names,
    real: impl Fn(c_int, *const c_char, c_int) -> c_int,
) -> c_int {
    // SAFETY: the caller guarantees the path.
    unsafe {
        if flags & AT_EMPTY_PATH != 0 && bytes(path).is_some_and(<[u8]>::is_empty) {
            return change_fd(dirfd, |p| real(AT_FDCWD, p, 0), || real(dirfd, path, flags));
        }
        write(PathArg::by_flags(dirfd, path, flags), names, |d, p| real(d, p, flags))
    }
}

/// Changes attributes of a descriptor. If the descriptor is redirected, calls `by_path` with the original's path, else
/// `by_fd`. Fails with ENOENT if the path no longer names the file that was staged.
pub fn change_fd(
    fd: c_int,
    by_path: impl FnOnce(*const c_char) -> c_int,
    by_fd: impl FnOnce() -> c_int,
) -> c_int {
    match stage() {
        Some(stage) if sys::fstat(fd).is_ok_and(|st| st.st_dev == stage.dev) => {
            let mut buf = [0; PATH_MAX];
            match stage.c_path_of_fd(fd, &mut buf) {
                // The opened file was renamed or removed. The file that now has its name must not be changed instead.
                Some(path) if stage.is_replaced(path.to_bytes()) => sys::fail(libc::ENOENT),
                // SAFETY: `path` is a C string on this stack.
                Some(path) => unsafe {
                    change(PathArg::followed(path.as_ptr()), |_, p| by_path(p))
                },
                None => by_fd(),
            }
        }
        _ => by_fd(),
    }
}

/// The effect of a new mode. Without the owner's permission to search a directory, the names below it can no longer be
/// reached. The permissions of other users do not matter, because only the owner or root uses this stage.
pub fn mode_names(mode: mode_t) -> Names {
    if mode & libc::S_IXUSR == 0 { Names::Search } else { Names::Same }
}
