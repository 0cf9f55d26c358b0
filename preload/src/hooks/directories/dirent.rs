//! Hooks directory streams and getdents. The hooked functions read the staged directory and give the original's inode
//! numbers.
//!
//! A small lock-free table holds the staged streams. While the table is empty, the hook adds only one load to each
//! readdir. If the table is full, opendir opens the original, which is slower but never wrong.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use libc::{AT_FDCWD, DIR, dirent};
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::{Follow, Want};
use pyshm_core::path::argument::PathArg;
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::REDIRECTED;
use pyshm_core::stage::mapped::Stage;
use pyshm_format::{Entry, Kind, Lookup};

use crate::hooks::files::open::retry;
use crate::libc_calls::lazy_libc;

/// The flags with which opendir opens a directory.
const DIRECTORY: c_int = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_DIRECTORY | libc::O_CLOEXEC;
/// Offsets of an entry's length and name in the layout of getdents64. The type follows the length.
const LENGTH_AT: usize = core::mem::offset_of!(dirent, d_reclen);
const NAME_AT: usize = core::mem::offset_of!(dirent, d_name);

/// Largest number of staged streams that can be open at the same time.
const PLACES: usize = 64;
/// The staged streams.
static STREAMS: [AtomicPtr<DIR>; PLACES] = [const { AtomicPtr::new(ptr::null_mut()) }; PLACES];
/// For each stream, the number of its directory's entry in the index. The number is written before the program gets the
/// stream.
static ENTRIES: [AtomicU32; PLACES] = [const { AtomicU32::new(0) }; PLACES];
/// Number of staged streams. While the number is 0, the other tables are not read.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Remembers the directory of a staged stream. Returns false if the table is full.
fn remember(dir: *mut DIR, e: &Entry<'static>) -> bool {
    let Some(stage) = stage() else { return false };
    let Some(number) = number_of(stage, e) else { return false };
    for (place, entry) in STREAMS.iter().zip(&ENTRIES) {
        if place.compare_exchange(ptr::null_mut(), dir, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            entry.store(number, Ordering::Release);
            USED.fetch_add(1, Ordering::AcqRel);
            return true;
        }
    }
    false
}

fn number_of(stage: &Stage, e: &Entry<'static>) -> Option<u32> {
    u32::try_from(stage.index().number(e)?).ok()
}

/// Forgets a stream, whether or not it is staged.
fn forget(dir: *mut DIR) {
    if USED.load(Ordering::Acquire) == 0 {
        return;
    }
    for place in &STREAMS {
        if place.compare_exchange(dir, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            USED.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The directory that a staged stream reads. `None` for any other stream.
fn directory_of(dir: *mut DIR) -> Option<Entry<'static>> {
    if USED.load(Ordering::Acquire) == 0 || dir.is_null() {
        return None;
    }
    let at = STREAMS.iter().position(|p| p.load(Ordering::Acquire) == dir)?;
    stage()?.index().entry(ENTRIES[at].load(Ordering::Acquire) as usize)
}

/// Writes the original's inode number and type into an entry that was read from the staged directory `parent`.
///
/// # Safety
/// `ino` and `kind` must be writable, `name` a C string.
unsafe fn correct(parent: &Entry<'static>, ino: *mut u64, kind: *mut u8, name: *const c_char) {
    let Some(stage) = stage() else { return };
    // SAFETY: the caller guarantees a C string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let size = parent.path().len() + name.len() + 2;
    // The buffer is short, because zeroing a buffer for the longest path would take longer than all other work of this
    // function. SAFETY: the caller guarantees that both can be written.
    unsafe {
        if size <= SHORT {
            correct_in(stage, parent, name, &mut [0; SHORT], (ino, kind));
        } else {
            correct_in(stage, parent, name, &mut [0; PATH_MAX], (ino, kind));
        }
    }
}

/// Size in bytes of a buffer that is long enough for most paths.
const SHORT: usize = 256;

/// Does the work of [`correct`]. `buf` has room for the entry's path, and `to` leads to the inode number and the type.
///
/// # Safety
/// Both pointers in `to` must be writable.
#[inline(never)]
unsafe fn correct_in(
    stage: &Stage,
    parent: &Entry<'static>,
    name: &[u8],
    buf: &mut [u8],
    to: (*mut u64, *mut u8),
) {
    let dir = parent.path();
    let n = match name {
        b"." => dir.len(),
        b".." => dir.iter().rposition(|&b| b == b'/').unwrap_or(0),
        _ => dir.len() + 1 + name.len(),
    };
    for part in [(0, dir), (dir.len(), b"/"), (dir.len() + 1, name)] {
        let Some(to) = buf.get_mut(part.0..part.0 + part.1.len()) else { return };
        to.copy_from_slice(part.1);
    }
    let Some(end) = buf.get_mut(n) else { return };
    *end = 0;
    let Some(path) = buf.get(..n) else { return };
    let (ino, mode, other) = match stage.index().find(path) {
        Lookup::Found(e) => (e.stat().ino, e.stat().mode, e.kind() == Kind::Other),
        Lookup::Absent if name == b".." => match above(parent, buf) {
            Some(ino) => (ino, libc::S_IFDIR, false),
            None => return,
        },
        Lookup::Absent => return,
        // SAFETY: a NUL follows the path.
        Lookup::Damaged => match unsafe { sys::lstat(buf.as_ptr().cast()) } {
            Ok(st) => (st.st_ino, st.st_mode, true),
            Err(_) => return,
        },
    };
    // SAFETY: the caller guarantees that both can be written.
    unsafe {
        to.0.write_unaligned(ino);
        if other || *to.1 != libc::DT_UNKNOWN {
            *to.1 = ((mode & libc::S_IFMT) >> 12) as u8;
        }
    }
}

/// The inode number of `..` in `dir`, the top directory of a prefix. `name` is the path of the directory above `dir`,
/// and a NUL follows the path.
fn above(dir: &Entry<'static>, name: &[u8]) -> Option<u64> {
    let top = dir.stat();
    // SAFETY: the caller has written a NUL behind the path.
    let st = unsafe { sys::lstat(name.as_ptr().cast()) }.ok()?;
    // In the root of a file system `..` is the root itself.
    Some(if st.st_dev == top.dev { st.st_ino } else { top.ino })
}

/// Calls [`correct`] for a `struct dirent`.
///
/// # Safety
/// `entry` must be filled.
unsafe fn correct_entry(parent: &Entry<'static>, entry: *mut dirent) {
    // SAFETY: a filled entry lies in the stream's or the caller's buffer, so the entry can be written. The entry's name
    // is a C string.
    unsafe {
        let name = (&raw const (*entry).d_name).cast();
        correct(parent, &raw mut (*entry).d_ino, &raw mut (*entry).d_type, name);
    }
}

/// The layout of an entry that the kernel writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The layout of getdents, with the type at the end of an entry and the name one byte nearer to the start.
    Old,
    /// The layout of getdents64.
    New,
}

/// The hook of getdents and getdents64. Returns the number of bytes, or -1 with errno set.
///
/// # Safety
/// As getdents64.
pub unsafe fn entries(fd: c_int, to: *mut u8, size: usize, layout: Layout) -> isize {
    let old = layout == Layout::Old;
    let staged = match stage() {
        Some(stage) if sys::fstat(fd).is_ok_and(|st| st.st_dev == stage.dev) => {
            stage.entry_of_fd(fd).filter(|e| !reopened(fd, e))
        }
        _ => None,
    };
    #[cfg(target_arch = "x86_64")]
    let number = if old { libc::SYS_getdents } else { libc::SYS_getdents64 };
    #[cfg(not(target_arch = "x86_64"))]
    let number = libc::SYS_getdents64;
    // SAFETY: the kernel checks the pointer.
    let n = match unsafe { sys::syscall(number, [fd as usize, to as usize, size, 0, 0, 0]) } {
        Ok(n) => n,
        Err(e) => return sys::fail(e) as isize,
    };
    let mut at = 0;
    while let Some(parent) = &staged
        && at < n
    {
        // SAFETY: the kernel has filled `to[..n]` with entries, each with its length.
        unsafe {
            let entry = to.add(at);
            let name = entry.add(if old { NAME_AT - 1 } else { NAME_AT }).cast();
            let len = usize::from(entry.add(LENGTH_AT).cast::<u16>().read_unaligned());
            let kind = entry.add(if old { len - 1 } else { LENGTH_AT + 2 });
            correct(parent, entry.cast(), kind, name);
            at += len.max(1);
        }
    }
    n as isize
}

/// Corrects an entry that was read from a stream.
///
/// # Safety
/// `entry` must be null or filled.
unsafe fn corrected(dir: *mut DIR, entry: *mut dirent) -> *mut dirent {
    if !entry.is_null()
        && let Some(parent) = directory_of(dir)
    {
        // SAFETY: the caller guarantees a filled entry.
        unsafe { correct_entry(&parent, entry) };
    }
    entry
}

/// Whether a staged directory still has all its names. The staged directory was made with the original's modification
/// time. If a user who cleans up `/dev/shm` removes a name, this time changes.
fn is_whole(st: &libc::stat, e: &Entry<'static>) -> bool {
    let time = e.stat().mtime;
    st.st_nlink > 0 && (st.st_mtime, st.st_mtime_nsec) == (time.sec, i64::from(time.nsec))
}

/// Replaces a staged directory's descriptor by a descriptor of the original. This happens if the directory's names
/// diverged, or if names of the staged directory were removed. Returns whether the descriptor was replaced.
fn reopened(fd: c_int, e: &Entry<'static>) -> bool {
    let removed = || sys::fstat(fd).is_ok_and(|st| !is_whole(&st, e));
    // In the middle of a listing the staged directory stays, because the original would be read from its start and show
    // names twice.
    let at_start = || sys::seek(fd, 0, libc::SEEK_CUR) == Ok(0);
    let diverged = || stage().is_some_and(|s| s.view.listing_diverged(e)) && at_start();
    // The path may now lead to another directory.
    let moved = || stage().is_some_and(|s| s.is_gone(e));
    if !diverged() && !removed() || moved() {
        return false;
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: an entry's path has a NUL behind it. dup3 replaces the caller's descriptor by one of the original.
    unsafe {
        let Ok(original) = sys::openat(AT_FDCWD, e.path().as_ptr().cast(), flags) else {
            return false;
        };
        let close = sys::fcntl(fd, libc::F_GETFD, 0).unwrap_or(0) as c_int & libc::FD_CLOEXEC != 0;
        let r = sys::dup3(original, fd, if close { libc::O_CLOEXEC } else { 0 });
        sys::close(original);
        r.is_ok()
    }
}

/// Opens a directory stream.
///
/// # Safety
/// `path` as opendir requires.
unsafe fn open_stream(path: *const c_char, real: impl Fn(*const c_char) -> *mut DIR) -> *mut DIR {
    // SAFETY: the caller guarantees the path, and an entry's names are C strings.
    unsafe {
        read(PathArg::followed(path), Want::Data(libc::O_DIRECTORY), |answer| match answer {
            Answer::Pass(_, path) => real(path),
            Answer::Absent(e) => {
                sys::set_errno(e);
                ptr::null_mut()
            }
            Answer::Redirect(e) => {
                let original = e.path().as_ptr().cast();
                // The descriptor needs the flags that mark it as redirected, so the shim opens it.
                let staged = e.staged().as_ptr().cast();
                let fd = match sys::openat(AT_FDCWD, staged, DIRECTORY | REDIRECTED) {
                    Ok(fd) => fd,
                    Err(errno) if retry(errno) => return real(original),
                    Err(errno) => {
                        sys::set_errno(errno);
                        return ptr::null_mut();
                    }
                };
                if !sys::fstat(fd).is_ok_and(|st| is_whole(&st, &e)) {
                    sys::close(fd);
                    return real(original);
                }
                let dir: *mut DIR = fdopendir::real()(fd);
                if dir.is_null() {
                    sys::close(fd);
                    return dir;
                }
                if remember(dir, &e) {
                    return dir;
                }
                closedir::real()(dir);
                real(original)
            }
        })
    }
}

/// Makes a stream from a descriptor. `real` calls libc's function.
fn stream_of(fd: c_int, real: impl FnOnce() -> *mut DIR) -> *mut DIR {
    let entry = stage().and_then(|s| s.entry_of_fd(fd)).filter(|e| !reopened(fd, e));
    let dir = real();
    if !dir.is_null()
        && let Some(e) = entry
    {
        // If the table is full, the names are right, but the inode numbers are those of the stage.
        remember(dir, &e);
    }
    dir
}

/// Prepares a stream for rewinddir, after which the stream must show the directory's present names.
///
/// # Safety
/// `dir` must be an open stream.
unsafe fn before_rewind(dir: *mut DIR) {
    if let Some(e) = directory_of(dir) {
        // SAFETY: the caller guarantees an open stream.
        let fd = unsafe { lazy_libc::dirfd(dir) };
        if sys::seek(fd, 0, libc::SEEK_SET).is_ok() && reopened(fd, &e) {
            forget(dir);
        }
    }
}

/// Corrects the entry that readdir_r has read, if `r`, the result of readdir_r, is 0. Returns `r`.
///
/// # Safety
/// `result` as readdir_r requires.
unsafe fn corrected_r(dir: *mut DIR, result: *mut *mut dirent, r: c_int) -> c_int {
    if r == 0 {
        // SAFETY: a successful readdir_r has stored null or a filled entry.
        unsafe { corrected(dir, *result) };
    }
    r
}

/// Lists a directory by `real`, which calls libc's function, and corrects the entries.
///
/// # Safety
/// As scandirat.
unsafe fn scan(
    dirfd: c_int,
    path: *const c_char,
    list: *mut *mut *mut dirent,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    let arg = PathArg::at(dirfd, path, Follow::Yes);
    // SAFETY: the caller keeps the contract of scandirat, which has filled a list with as many entries as it returns.
    unsafe {
        read(arg, Want::Data(libc::O_DIRECTORY), |answer| match answer {
            Answer::Pass(dirfd, path) => real(dirfd, path),
            Answer::Absent(e) => sys::fail(e),
            Answer::Redirect(e) => {
                let original = e.path().as_ptr().cast();
                if !sys::lstat(e.staged().as_ptr().cast()).is_ok_and(|st| is_whole(&st, &e)) {
                    return real(AT_FDCWD, original);
                }
                let before = sys::errno();
                let n = real(AT_FDCWD, e.staged().as_ptr().cast());
                if n < 0 {
                    if !retry(sys::errno()) {
                        return n;
                    }
                    sys::set_errno(before);
                    return real(AT_FDCWD, original);
                }
                for i in 0..n as usize {
                    correct_entry(&e, *(*list).add(i));
                }
                n
            }
        })
    }
}

// glibc has getdents64 only since 2.30, and glibc's function only makes the system call. So this one needs no real
// function.
exports! {
    fn getdents64(fd: c_int, to: *mut c_void, size: libc::size_t) -> isize
        = entries(fd, to.cast(), size, Layout::New);
}

type Filter = *const c_void;

// On 64-bit systems `struct dirent` and `struct dirent64` are the same.
hooks! {
    fn opendir(path: *const c_char) -> *mut DIR = |real| open_stream(path, real);
    fn fdopendir(fd: c_int) -> *mut DIR = |real| stream_of(fd, || real(fd));
    fn closedir(dir: *mut DIR) -> c_int = |real| {
        forget(dir);
        real(dir)
    };
    fn rewinddir(dir: *mut DIR) -> () = |real| {
        before_rewind(dir);
        real(dir)
    };
    fn readdir, readdir64(dir: *mut DIR) -> *mut dirent = |real| corrected(dir, real(dir));
    fn readdir_r, readdir64_r(dir: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int
        = |real| corrected_r(dir, result, real(dir, entry, result));
    fn scandir, scandir64(path: *const c_char, list: *mut *mut *mut dirent, filter: Filter, order: Filter) -> c_int
        = |real| scan(AT_FDCWD, path, list, |_, p| real(p, list, filter, order));
    fn scandirat, scandirat64(dirfd: c_int, path: *const c_char, list: *mut *mut *mut dirent, filter: Filter, order: Filter) -> c_int
        = |real| scan(dirfd, path, list, |d, p| real(d, p, list, filter, order));
}
