//! Walks a tree for nftw as glibc does. The walk reads the attributes of a file relative to the descriptor of the
//! file's directory. A walk that follows links visits no directory twice.

use core::ffi::{CStr, c_char, c_int};
use core::mem;

use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;

use super::levels::Levels;
use super::seen::Seen;
use crate::hooks::attributes::stat::stat_at;
use crate::hooks::directories::dirent::readdir64;
use crate::hooks::files::cwd::fchdir;
use crate::hooks::files::open::openat;
use crate::libc_calls::heap::Array;

// ftw.h
const FTW_F: c_int = 0;
const FTW_D: c_int = 1;
const FTW_DNR: c_int = 2;
const FTW_NS: c_int = 3;
const FTW_SL: c_int = 4;
const FTW_DP: c_int = 5;
const FTW_SLN: c_int = 6;

const FTW_PHYS: c_int = 1;
const FTW_MOUNT: c_int = 2;
const FTW_CHDIR: c_int = 4;
const FTW_DEPTH: c_int = 8;
const FTW_ACTIONRETVAL: c_int = 16;
/// The flags that this walk understands.
pub const KNOWN: c_int = FTW_PHYS | FTW_MOUNT | FTW_CHDIR | FTW_DEPTH | FTW_ACTIONRETVAL;

const FTW_STOP: c_int = 1;
const FTW_SKIP_SUBTREE: c_int = 2;
const FTW_SKIP_SIBLINGS: c_int = 3;

/// `struct FTW`.
#[repr(C)]
pub struct Depth {
    /// The offset at which the last name of the path starts.
    base: c_int,
    /// The depth of the current file below the start of the walk; 0 for the start.
    level: c_int,
}

/// The function that ftw calls.
pub type Plain = unsafe extern "C" fn(*const c_char, *const libc::stat, c_int) -> c_int;
/// The function that nftw calls.
pub type Full = unsafe extern "C" fn(*const c_char, *const libc::stat, c_int, *mut Depth) -> c_int;

/// The caller's function.
#[derive(Clone, Copy)]
pub enum Call {
    /// The function of ftw, which has no kind for symbolic links.
    Plain(Plain),
    /// The function of nftw.
    Full(Full),
}

/// The state of a walk.
struct Walk {
    call: Call,
    flags: c_int,
    /// The path of the current file, with its NUL.
    path: Array<u8>,
    depth: Depth,
    /// The device on which the walk began.
    dev: u64,
    seen: Seen,
    levels: Levels,
}

/// Walks the tree at `start`. Returns nftw's result.
///
/// # Safety
/// `start` must be a C string that is not empty, and the other arguments must be as nftw requires.
#[inline(never)]
pub unsafe fn walk(start: *const c_char, call: Call, open: c_int, flags: c_int) -> c_int {
    // SAFETY: the caller guarantees a C string.
    let mut text = unsafe { CStr::from_ptr(start) }.to_bytes();
    while let [kept @ .., b'/'] = text
        && !kept.is_empty()
    {
        text = kept;
    }
    let base = text.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    let mut walk = Walk {
        call,
        flags,
        path: Array::new(),
        depth: Depth { base: base as c_int, level: 0 },
        dev: 0,
        seen: Seen::new(),
        levels: Levels::new(usize::try_from(open).unwrap_or(1)),
    };
    if walk.path.extend(text).and_then(|()| walk.path.push(0)).is_none() {
        return -1;
    }
    if flags & FTW_CHDIR == 0 {
        // SAFETY: the caller keeps the contract of nftw.
        return unsafe { walk.start() };
    }
    // SAFETY: the caller keeps the contract of nftw, and the paths are C strings of this walk.
    unsafe {
        let home = openat::hook(AT_FDCWD, c".".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY, 0);
        let mut name = [0u8; PATH_MAX];
        if home >= 0 {
            walk.levels.spare_one();
        } else if sys::errno() != libc::EACCES || sys::getcwd(&mut name).is_err() {
            return -1;
        }
        let result = match base {
            0 => 0,
            1 => chdir(c"/".as_ptr()),
            _ => walk.with_parent(|parent| chdir(parent)),
        };
        let result = if result == 0 { walk.start() } else { result };
        let errno = sys::errno();
        if home >= 0 {
            fchdir::hook(home);
            sys::close(home);
        } else {
            chdir(name.as_ptr().cast());
        }
        sys::set_errno(errno);
        result
    }
}

/// Changes the working directory by the system call. The path needs no translation, because chdir passes.
///
/// # Safety
/// `path` must be a C string.
unsafe fn chdir(path: *const c_char) -> c_int {
    // SAFETY: the caller guarantees a C string.
    sys::ret(unsafe { sys::syscall(libc::SYS_chdir, [path as usize, 0, 0, 0, 0, 0]) })
}

impl Walk {
    fn has(&self, flag: c_int) -> bool {
        self.flags & flag != 0
    }

    fn base(&self) -> usize {
        self.depth.base as usize
    }

    fn path(&self) -> *const c_char {
        self.path.all().as_ptr().cast()
    }

    /// The last name of the path.
    fn name(&self) -> *const c_char {
        self.path.all().get(self.base()..).map_or(c"".as_ptr(), |name| name.as_ptr().cast())
    }

    /// Calls `f` with the path of the directory that contains the walk's start.
    fn with_parent(&mut self, f: impl FnOnce(*const c_char) -> c_int) -> c_int {
        let at = self.base() - 1;
        if let Some(slash) = self.path.all_mut().get_mut(at) {
            *slash = 0;
        }
        let result = f(self.path());
        if let Some(slash) = self.path.all_mut().get_mut(at) {
            *slash = b'/';
        }
        result
    }

    /// The directory and name by which the current file is reached. `fd` is the descriptor of the file's directory, or
    /// -1.
    fn place(&self, fd: c_int) -> (c_int, *const c_char) {
        let absolute = self.path.all().first() == Some(&b'/') && self.path.len() <= PATH_MAX;
        if fd >= 0 && !absolute {
            (fd, self.name())
        } else if fd >= 0 || !self.has(FTW_CHDIR) {
            // The absolute path leads to the same file as the name relative to the descriptor. For an absolute path,
            // the index answers without asking the kernel for the descriptor's path.
            (AT_FDCWD, self.path())
        } else if self.base() + 1 >= self.path.len() {
            (AT_FDCWD, c".".as_ptr())
        } else {
            (AT_FDCWD, self.name())
        }
    }

    /// Opens the directory at `path` on a new level. `None` with errno set if that fails.
    fn open(&mut self) -> Option<()> {
        self.levels.make_room()?;
        let (dirfd, name) = self.place(self.levels.last_fd());
        // SAFETY: `name` is a C string of this walk.
        unsafe { self.levels.open(dirfd, name) }
    }

    /// Changes back to the directory at `depth` from one of its subdirectories.
    fn back(&mut self, depth: usize) -> c_int {
        let fd = self.levels.fd(depth);
        // SAFETY: the descriptor is this walk's, and the paths are C strings.
        unsafe {
            if fd >= 0 && fchdir::hook(fd) == 0 {
                return 0;
            }
            chdir(if self.depth.base == 1 { c"/".as_ptr() } else { c"..".as_ptr() })
        }
    }

    /// Calls the caller's function for the current file.
    ///
    /// # Safety
    /// As nftw.
    unsafe fn tell(&mut self, st: &libc::stat, kind: c_int) -> c_int {
        let path = self.path();
        // SAFETY: the caller of nftw guarantees the function.
        unsafe {
            match self.call {
                Call::Full(call) => call(path, st, kind, &raw mut self.depth),
                Call::Plain(call) => {
                    let kind = match kind {
                        FTW_SL => FTW_F,
                        FTW_DP => FTW_D,
                        FTW_SLN => FTW_NS,
                        kind => kind,
                    };
                    call(path, st, kind)
                }
            }
        }
    }

    /// Walks the tree at the current path.
    ///
    /// # Safety
    /// As nftw.
    unsafe fn start(&mut self) -> c_int {
        // SAFETY: a struct of integers may be zero.
        let mut st: libc::stat = unsafe { mem::zeroed() };
        let (dirfd, name) = self.place(-1);
        let follow = if self.has(FTW_PHYS) { AT_SYMLINK_NOFOLLOW } else { 0 };
        // SAFETY: the name is a C string of this walk, and the structure is on this stack.
        let result = unsafe {
            if stat_at(dirfd, name, &raw mut st, follow) < 0 {
                let dangling = follow == 0
                    && sys::errno() == libc::ENOENT
                    && stat_at(dirfd, name, &raw mut st, AT_SYMLINK_NOFOLLOW) == 0
                    && is(&st, libc::S_IFLNK);
                if dangling { self.tell(&st, FTW_SLN) } else { -1 }
            } else if is(&st, libc::S_IFDIR) {
                self.dev = st.st_dev;
                if follow == 0 && self.seen.add(&st).is_none() { -1 } else { self.directory(&st) }
            } else {
                self.tell(&st, if is(&st, libc::S_IFLNK) { FTW_SL } else { FTW_F })
            }
        };
        let skips = matches!(result, FTW_SKIP_SUBTREE | FTW_SKIP_SIBLINGS);
        if self.has(FTW_ACTIONRETVAL) && skips { 0 } else { result }
    }

    /// Visits one name of the directory at `level`.
    ///
    /// # Safety
    /// As nftw.
    unsafe fn entry(&mut self, level: usize, name: &[u8]) -> c_int {
        if matches!(name, b"." | b"..") {
            return 0;
        }
        self.path.truncate(self.base());
        if self.path.extend(name).and_then(|()| self.path.push(0)).is_none() {
            return -1;
        }
        let (dirfd, at) = self.place(self.levels.fd(level));
        let follow = if self.has(FTW_PHYS) { AT_SYMLINK_NOFOLLOW } else { 0 };
        // SAFETY: a struct of integers may be zero.
        let mut st: libc::stat = unsafe { mem::zeroed() };
        // SAFETY: the name is a C string of this walk, and the structure is on this stack.
        let kind = unsafe {
            if stat_at(dirfd, at, &raw mut st, follow) == 0 {
                match st.st_mode & libc::S_IFMT {
                    libc::S_IFDIR => FTW_D,
                    libc::S_IFLNK => FTW_SL,
                    _ => FTW_F,
                }
            } else if !matches!(sys::errno(), libc::EACCES | libc::ENOENT) {
                return -1;
            } else if follow == 0
                && stat_at(dirfd, at, &raw mut st, AT_SYMLINK_NOFOLLOW) == 0
                && is(&st, libc::S_IFLNK)
            {
                FTW_SLN
            } else {
                FTW_NS
            }
        };
        let mut result = 0;
        if kind == FTW_NS || !self.has(FTW_MOUNT) || st.st_dev == self.dev {
            // SAFETY: the caller keeps the contract of nftw.
            result = unsafe {
                if kind != FTW_D {
                    self.tell(&st, kind)
                } else if self.has(FTW_PHYS) {
                    self.directory(&st)
                } else {
                    match self.seen.add(&st) {
                        Some(true) => self.directory(&st),
                        Some(false) => 0,
                        None => -1,
                    }
                }
            };
        }
        if self.has(FTW_ACTIONRETVAL) && result == FTW_SKIP_SUBTREE { 0 } else { result }
    }

    /// Visits the directory at `path`, and everything below this directory.
    ///
    /// # Safety
    /// As nftw.
    unsafe fn directory(&mut self, st: &libc::stat) -> c_int {
        // SAFETY: the caller keeps the contract of nftw.
        unsafe {
            let depth = self.levels.len();
            let outer = self.depth.base;
            if self.open().is_none() {
                return if sys::errno() == libc::EACCES { self.tell(st, FTW_DNR) } else { -1 };
            }
            let mut result = if self.has(FTW_DEPTH) { 0 } else { self.tell(st, FTW_D) };
            if result == 0 && self.has(FTW_CHDIR) && fchdir::hook(self.levels.fd(depth)) < 0 {
                result = -1;
            }
            if result != 0 {
                self.levels.close();
                return result;
            }
            self.depth.level += 1;
            // A slash replaces the NUL. The path "/" already ends with a slash.
            self.path.pop();
            if self.path.all().last() != Some(&b'/') && self.path.push(b'/').is_none() {
                self.levels.close();
                return -1;
            }
            self.depth.base = self.path.len() as c_int;
            result = self.children(depth);
            self.levels.close();
            if self.has(FTW_ACTIONRETVAL) && result == FTW_SKIP_SIBLINGS {
                result = 0;
            }
            // As in glibc, "/" becomes an empty path here.
            self.path.truncate(self.base() - 1);
            if self.path.push(0).is_none() {
                return -1;
            }
            self.depth.level -= 1;
            self.depth.base = outer;
            if result == 0 && self.has(FTW_DEPTH) {
                result = self.tell(st, FTW_DP);
            }
            let goes_on =
                result == 0 || self.has(FTW_ACTIONRETVAL) && result != -1 && result != FTW_STOP;
            if depth > 0 && self.has(FTW_CHDIR) && goes_on && self.back(depth - 1) < 0 {
                result = -1;
            }
            result
        }
    }

    /// Visits every name of the directory at `depth`.
    ///
    /// # Safety
    /// As nftw.
    unsafe fn children(&mut self, depth: usize) -> c_int {
        // SAFETY: a level's stream is open or null. The names of filled entries and of a list are C strings. Each name
        // is used before the stream is read again or the list is freed.
        unsafe {
            while let Some(l) = self.levels.get(depth).filter(|l| !l.stream.is_null()) {
                let entry = readdir64::hook(l.stream);
                if entry.is_null() {
                    return 0;
                }
                let name = CStr::from_ptr((&raw const (*entry).d_name).cast());
                let result = self.entry(depth, name.to_bytes());
                if result != 0 {
                    return result;
                }
            }
            let Some(mut next) = self.levels.get(depth).map(|l| l.names) else { return 0 };
            while !next.is_null() && *next != 0 {
                let name = CStr::from_ptr(next.cast()).to_bytes();
                let result = self.entry(depth, name);
                if result != 0 {
                    return result;
                }
                next = next.add(name.len() + 1);
            }
            0
        }
    }
}

/// Whether a file is of this kind.
fn is(st: &libc::stat, kind: libc::mode_t) -> bool {
    st.st_mode & libc::S_IFMT == kind
}
