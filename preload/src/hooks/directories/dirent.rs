//! Directories: streams read the staged copy and show the original's inode numbers.
//!
//! Which streams are staged is remembered in a small lock-free table of stream pointers, so that readdir on any
//! other stream costs one load while the table is empty. A stream that finds no place in it is opened on the
//! original: slower, never wrong.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use libc::{AT_FDCWD, DIR, dirent};
use pyshm_format::{Entry, Kind, Lookup};

use crate::hooks::files::open::retry;
use crate::libc_calls::lazy_libc;
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::REDIRECTED;
use pyshm_core::stage::mapped::Stage;

const PLACES: usize = 64;
static STREAMS: [AtomicPtr<DIR>; PLACES] = [const { AtomicPtr::new(ptr::null_mut()) }; PLACES];
/// Hash of the directory's path, whose entry it finds again. Written before its stream is handed to the program.
static ENTRIES: [AtomicU32; PLACES] = [const { AtomicU32::new(0) }; PLACES];
static USED: AtomicUsize = AtomicUsize::new(0);

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

/// The directory a staged stream reads.
fn directory_of(dir: *mut DIR) -> Option<Entry<'static>> {
    if USED.load(Ordering::Acquire) == 0 || dir.is_null() {
        return None;
    }
    let at = STREAMS.iter().position(|p| p.load(Ordering::Acquire) == dir)?;
    stage()?.index().entry(ENTRIES[at].load(Ordering::Acquire) as usize)
}

/// Puts the original's inode number into an entry that was read from the staged directory `parent`.
///
/// # Safety
/// The inode number and the type must be writable, the name a C string.
unsafe fn correct(parent: &Entry<'static>, ino: *mut u64, kind: *mut u8, name: *const c_char) {
    let Some(stage) = stage() else { return };
    // SAFETY: by the caller's word.
    let name = unsafe { core::ffi::CStr::from_ptr(name) }.to_bytes();
    let size = parent.path().len() + name.len() + 2;
    // Zeroing room for the longest path would take longer than all the rest.
    // SAFETY: by the caller's word.
    unsafe {
        if size <= SHORT {
            correct_in(stage, parent, name, &mut [0; SHORT], (ino, kind));
        } else {
            correct_in(stage, parent, name, &mut [0; PATH_MAX], (ino, kind));
        }
    }
}

/// Room for most paths, in bytes.
const SHORT: usize = 256;

/// # Safety
/// The inode number and the type in `to` must be writable.
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
        // Its entry is damaged: the original says it.
        // SAFETY: there is a NUL behind the path.
        Lookup::Damaged => match unsafe { sys::lstat(buf.as_ptr().cast()) } {
            Ok(st) => (st.st_ino, st.st_mode, true),
            Err(_) => return,
        },
    };
    // SAFETY: by the caller's word.
    unsafe {
        to.0.write_unaligned(ino);
        if other || *to.1 != libc::DT_UNKNOWN {
            *to.1 = ((mode & libc::S_IFMT) >> 12) as u8;
        }
    }
}

/// The inode number that `..` has in the top directory of a prefix, `dir`; `name` is the path of what is above it.
fn above(dir: &Entry<'static>, name: &[u8]) -> Option<u64> {
    let top = dir.stat();
    // SAFETY: the caller has put a NUL behind the path.
    let st = unsafe { sys::lstat(name.as_ptr().cast()) }.ok()?;
    // In the top directory of a file system `..` is that directory itself.
    Some(if st.st_dev == top.dev { st.st_ino } else { top.ino })
}

/// # Safety
/// `entry` must be a filled `struct dirent`.
unsafe fn correct_entry(parent: &Entry<'static>, entry: *mut dirent) {
    // SAFETY: a filled entry is writable: it lies in the stream's or the caller's buffer. Its name is a C string.
    unsafe {
        let name = (&raw const (*entry).d_name).cast();
        correct(parent, &raw mut (*entry).d_ino, &raw mut (*entry).d_type, name);
    }
}

/// getdents and getdents64: `old` has the type at an entry's end, and the names two bytes nearer to its beginning.
///
/// # Safety
/// As getdents64.
pub(crate) unsafe fn entries(fd: c_int, to: *mut u8, size: usize, old: bool) -> isize {
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
        // SAFETY: the kernel has filled `to[..n]` with entries, each of which says how long it is.
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

/// # Safety
/// As readdir's result: null or a filled entry.
unsafe fn corrected(dir: *mut DIR, entry: *mut dirent) -> *mut dirent {
    if !entry.is_null()
        && let Some(parent) = directory_of(dir)
    {
        // SAFETY: by the caller's word.
        unsafe { correct_entry(&parent, entry) };
    }
    entry
}

/// # Safety
/// As scandirat.
unsafe fn scan(
    dirfd: c_int,
    path: *const c_char,
    list: *mut *mut *mut dirent,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe {
        ask(dirfd, path, true, Want::Data(libc::O_DIRECTORY), |answer| match answer {
            Answer::Pass(dirfd, path) => real(dirfd, path),
            Answer::Absent(e) => sys::fail(e),
            Answer::Redirect(e) => {
                if !sys::lstat(e.staged().as_ptr().cast()).is_ok_and(|st| is_whole(&st, &e)) {
                    return real(AT_FDCWD, e.path().as_ptr().cast());
                }
                let before = sys::errno();
                let n = real(AT_FDCWD, e.staged().as_ptr().cast());
                if n < 0 {
                    if !retry(sys::errno()) {
                        return n;
                    }
                    sys::set_errno(before);
                    return real(AT_FDCWD, e.path().as_ptr().cast());
                }
                for i in 0..n as usize {
                    correct_entry(&e, *(*list).add(i));
                }
                n
            }
        })
    }
}

/// Whether a staged directory has all its names: it was made with the original's time, which changes when somebody
/// who cleans up removes one of them.
fn is_whole(st: &libc::stat, e: &Entry<'static>) -> bool {
    let time = e.stat().mtime;
    st.st_nlink > 0 && (st.st_mtime, st.st_mtime_nsec) == (time.sec, i64::from(time.nsec))
}

/// Lets a staged directory's descriptor stand for the original if names in it changed since it was
/// opened, or the staged one was removed.
fn reopened(fd: c_int, e: &Entry<'static>) -> bool {
    let removed = || sys::fstat(fd).is_ok_and(|st| !is_whole(&st, e));
    // In the middle the rest of what was begun is shown: the original, read from its beginning, would show names twice.
    let at_start = || sys::seek(fd, 0, libc::SEEK_CUR) == Ok(0);
    let diverged = || stage().is_some_and(|s| s.view.listing_diverged(e)) && at_start();
    // What took the directory's name is not it.
    let moved = || stage().is_some_and(|s| s.is_gone(e));
    if !diverged() && !removed() || moved() {
        return false;
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: an entry's path has a NUL behind it. dup3 replaces the caller's descriptor by one of the same kind.
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

/// How opendir opens.
const DIRECTORY: c_int = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_DIRECTORY | libc::O_CLOEXEC;
/// Where in an entry of getdents64 its length and its name stand; behind the length stands the type.
const LENGTH_AT: usize = core::mem::offset_of!(dirent, d_reclen);
const NAME_AT: usize = core::mem::offset_of!(dirent, d_name);

// getdents64 came with glibc 2.30 and is the system call and nothing else.
exports! {
    unsafe fn getdents64(fd: c_int, to: *mut c_void, size: libc::size_t) -> isize {
        // SAFETY: the caller's own arguments.
        unsafe { entries(fd, to.cast(), size, false) }
    }
}

type Filter = *const c_void;

hooks! {
    unsafe fn opendir(path: *const c_char) -> *mut DIR => my_opendir {
        let real = |p: *const c_char| -> *mut DIR {
            // SAFETY: the caller's own path, or one of ours.
            unsafe { real!(opendir)(p) }
        };
        // SAFETY: the caller's own arguments.
        unsafe {
            ask(AT_FDCWD, path, true, Want::Data(libc::O_DIRECTORY), |answer| match answer {
                Answer::Pass(_, path) => real(path),
                Answer::Absent(e) => {
                    sys::set_errno(e);
                    ptr::null_mut()
                }
                Answer::Redirect(e) => {
                    // The descriptor must be marked as redirected, so it is opened here.
                    let fd = match sys::openat(AT_FDCWD, e.staged().as_ptr().cast(), DIRECTORY | REDIRECTED) {
                        Ok(fd) => fd,
                        Err(errno) if retry(errno) => return real(e.path().as_ptr().cast()),
                        Err(errno) => {
                            sys::set_errno(errno);
                            return ptr::null_mut();
                        }
                    };
                    if !sys::fstat(fd).is_ok_and(|st| is_whole(&st, &e)) {
                        sys::close(fd);
                        return real(e.path().as_ptr().cast());
                    }
                    let dir: *mut DIR = real!(fdopendir)(fd);
                    if dir.is_null() {
                        sys::close(fd);
                        return dir;
                    }
                    if remember(dir, &e) {
                        return dir;
                    }
                    real!(closedir)(dir);
                    real(e.path().as_ptr().cast())
                }
            })
        }
    }
    unsafe fn fdopendir(fd: c_int) -> *mut DIR => my_fdopendir {
        let entry = stage().and_then(|s| s.entry_of_fd(fd)).filter(|e| !reopened(fd, e));
        // SAFETY: the caller's own arguments.
        let dir: *mut DIR = unsafe { real!(fdopendir)(fd) };
        if !dir.is_null() && let Some(e) = entry {
            // Without a place the names are right and only the inode numbers are the stage's.
            remember(dir, &e);
        }
        dir
    }
    unsafe fn closedir(dir: *mut DIR) -> c_int => my_closedir {
        forget(dir);
        // SAFETY: the caller's own arguments.
        unsafe { real!(closedir)(dir) }
    }
    unsafe fn rewinddir(dir: *mut DIR) -> () => my_rewinddir {
        if let Some(e) = directory_of(dir) {
            // SAFETY: the caller's stream.
            let fd = unsafe { lazy_libc::dirfd(dir) };
            // From the beginning a stream shows what is there now.
            if sys::seek(fd, 0, libc::SEEK_SET).is_ok() && reopened(fd, &e) {
                forget(dir);
            }
        }
        // SAFETY: the caller's own arguments.
        unsafe { real!(rewinddir)(dir) }
    }
    unsafe fn readdir(dir: *mut DIR) -> *mut dirent => my_readdir {
        // SAFETY: the caller's own arguments.
        unsafe { corrected(dir, real!(readdir)(dir)) }
    }
    unsafe fn readdir64(dir: *mut DIR) -> *mut dirent => my_readdir64 {
        // SAFETY: the caller's own arguments; on 64-bit systems both structures are one.
        unsafe { corrected(dir, real!(readdir64)(dir)) }
    }
    unsafe fn readdir_r(dir: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int => my_readdir_r {
        // SAFETY: the caller's own arguments.
        unsafe {
            let r = real!(readdir_r)(dir, entry, result);
            if r == 0 {
                corrected(dir, *result);
            }
            r
        }
    }
    unsafe fn readdir64_r(dir: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int => my_readdir64_r {
        // SAFETY: the caller's own arguments.
        unsafe {
            let r = real!(readdir64_r)(dir, entry, result);
            if r == 0 {
                corrected(dir, *result);
            }
            r
        }
    }
    unsafe fn scandir(path: *const c_char, list: *mut *mut *mut dirent, filter: Filter, order: Filter) -> c_int => my_scandir {
        // SAFETY: the caller's own arguments.
        unsafe { scan(AT_FDCWD, path, list, |_, p| real!(scandir)(p, list, filter, order)) }
    }
    unsafe fn scandir64(path: *const c_char, list: *mut *mut *mut dirent, filter: Filter, order: Filter) -> c_int => my_scandir64 {
        // SAFETY: the caller's own arguments.
        unsafe { scan(AT_FDCWD, path, list, |_, p| real!(scandir64)(p, list, filter, order)) }
    }
    unsafe fn scandirat(dirfd: c_int, path: *const c_char, list: *mut *mut *mut dirent, filter: Filter, order: Filter) -> c_int => my_scandirat {
        // SAFETY: the caller's own arguments.
        unsafe { scan(dirfd, path, list, |d, p| real!(scandirat)(d, p, list, filter, order)) }
    }
    unsafe fn scandirat64(dirfd: c_int, path: *const c_char, list: *mut *mut *mut dirent, filter: Filter, order: Filter) -> c_int => my_scandirat64 {
        // SAFETY: the caller's own arguments.
        unsafe { scan(dirfd, path, list, |d, p| real!(scandirat64)(d, p, list, filter, order)) }
    }
}
