//! ftw and nftw: libc's walk inside itself, so a tree that holds a prefix is walked here, by the hooked functions.
//!
//! It does what glibc's does: every object is looked at relative to its directory's descriptor; where more directories
//! are open than the caller allows, what is left of the outermost one is read into memory and it is closed; links that
//! are followed are never followed twice to the same directory. A tree without a prefix is libc's own business.

use core::ffi::{CStr, c_char, c_int};
use core::mem;

use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW};

use crate::hooks::attributes::stat::stat_at;
use crate::hooks::directories::dirent::my_readdir64;
use crate::hooks::files::cwd::my_fchdir;
use crate::hooks::files::open::my_openat;
use crate::libc_calls::heap::Array;
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::path::resolve::meets_prefix;

mod levels;
mod seen;

use levels::Level;
use seen::Seen;

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
const KNOWN: c_int = FTW_PHYS | FTW_MOUNT | FTW_CHDIR | FTW_DEPTH | FTW_ACTIONRETVAL;

const FTW_STOP: c_int = 1;
const FTW_SKIP_SUBTREE: c_int = 2;
const FTW_SKIP_SIBLINGS: c_int = 3;

/// `struct FTW`.
#[repr(C)]
pub struct Place {
    base: c_int,
    level: c_int,
}

type Plain = unsafe extern "C" fn(*const c_char, *const libc::stat, c_int) -> c_int;
type Full = unsafe extern "C" fn(*const c_char, *const libc::stat, c_int, *mut Place) -> c_int;

hooks! {
    unsafe fn ftw(path: *const c_char, call: Option<Plain>, open: c_int) -> c_int => my_ftw {
        // SAFETY: the caller's own arguments.
        unsafe {
            match call {
                Some(call) if meets_prefix(path) => walk(path, Call::Plain(call), open, 0),
                _ => real!(ftw)(path, call, open),
            }
        }
    }
    unsafe fn ftw64(path: *const c_char, call: Option<Plain>, open: c_int) -> c_int => my_ftw64 {
        // SAFETY: as above; on 64-bit systems both structures are one.
        unsafe {
            match call {
                Some(call) if meets_prefix(path) => walk(path, Call::Plain(call), open, 0),
                _ => real!(ftw64)(path, call, open),
            }
        }
    }
    unsafe fn nftw(path: *const c_char, call: Option<Full>, open: c_int, flags: c_int) -> c_int => my_nftw {
        // SAFETY: as above.
        unsafe {
            match call {
                Some(call) if flags & !KNOWN == 0 && meets_prefix(path) => walk(path, Call::Full(call), open, flags),
                _ => real!(nftw)(path, call, open, flags),
            }
        }
    }
    unsafe fn nftw64(path: *const c_char, call: Option<Full>, open: c_int, flags: c_int) -> c_int => my_nftw64 {
        // SAFETY: as above.
        unsafe {
            match call {
                Some(call) if flags & !KNOWN == 0 && meets_prefix(path) => walk(path, Call::Full(call), open, flags),
                _ => real!(nftw64)(path, call, open, flags),
            }
        }
    }
}

/// The caller's function.
#[derive(Clone, Copy)]
enum Call {
    /// ftw's, which does not know of links.
    Plain(Plain),
    /// nftw's.
    Full(Full),
}

struct Walk {
    call: Call,
    flags: c_int,
    /// How many directories may be open.
    most: usize,
    /// The current object's path with its NUL.
    path: Array<u8>,
    place: Place,
    /// The device of the start.
    dev: u64,
    seen: Seen,
    levels: Array<Level>,
}

/// # Safety
/// `start` must be a C string that is not empty; the rest as nftw.
#[inline(never)]
unsafe fn walk(start: *const c_char, call: Call, open: c_int, flags: c_int) -> c_int {
    // SAFETY: by the caller's word.
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
        most: usize::try_from(open).unwrap_or(1).max(1),
        path: Array::new(),
        place: Place { base: base as c_int, level: 0 },
        dev: 0,
        seen: Seen::new(),
        levels: Array::new(),
    };
    if walk.path.extend(text).and_then(|()| walk.path.push(0)).is_none() {
        return -1;
    }
    if flags & FTW_CHDIR == 0 {
        // SAFETY: by the caller's word.
        return unsafe { walk.start() };
    }
    // SAFETY: by the caller's word, and C strings of ours.
    unsafe {
        let home = my_openat(AT_FDCWD, c".".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY, 0);
        let mut name = [0u8; PATH_MAX];
        if home >= 0 {
            walk.most = (walk.most - 1).max(1);
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
            my_fchdir(home);
            sys::close(home);
        } else {
            chdir(name.as_ptr().cast());
        }
        sys::set_errno(errno);
        result
    }
}

/// A chdir passes always: the process stands in the original directory.
///
/// # Safety
/// `path` must be a C string.
unsafe fn chdir(path: *const c_char) -> c_int {
    // SAFETY: by the caller's word.
    sys::ret(unsafe { sys::syscall(libc::SYS_chdir, [path as usize, 0, 0, 0, 0, 0]) })
}

impl Walk {
    fn has(&self, flag: c_int) -> bool {
        self.flags & flag != 0
    }

    fn base(&self) -> usize {
        self.place.base as usize
    }

    fn path(&self) -> *const c_char {
        self.path.all().as_ptr().cast()
    }

    /// The last part of the path.
    fn name(&self) -> *const c_char {
        self.path.all().get(self.base()..).map_or(c"".as_ptr(), |name| name.as_ptr().cast())
    }

    /// Calls `f` with the path of the directory that the start lies in.
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

    /// Where to look for the object at `path`, which lies in the directory `fd`, if that is open.
    fn place(&self, fd: c_int) -> (c_int, *const c_char) {
        let absolute = self.path.all().first() == Some(&b'/') && self.path.len() <= PATH_MAX;
        if fd >= 0 && !absolute {
            (fd, self.name())
        } else if fd >= 0 || !self.has(FTW_CHDIR) {
            // Beside a descriptor an absolute name means the same, and the index answers it without asking what the
            // descriptor is.
            (AT_FDCWD, self.path())
        } else if self.base() + 1 >= self.path.len() {
            (AT_FDCWD, c".".as_ptr())
        } else {
            (AT_FDCWD, self.name())
        }
    }

    /// # Safety
    /// As the caller's function.
    unsafe fn tell(&mut self, st: &libc::stat, kind: c_int) -> c_int {
        let path = self.path();
        // SAFETY: by the caller's word.
        unsafe {
            match self.call {
                Call::Full(call) => call(path, st, kind, &raw mut self.place),
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

    /// # Safety
    /// As nftw.
    unsafe fn start(&mut self) -> c_int {
        // SAFETY: a struct of integers may be all zero.
        let mut st: libc::stat = unsafe { mem::zeroed() };
        let (dirfd, name) = self.place(-1);
        let follow = if self.has(FTW_PHYS) { AT_SYMLINK_NOFOLLOW } else { 0 };
        // SAFETY: a C string and a structure of ours.
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

    /// One name of the directory at `level`.
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
        let (dirfd, at) = self.place(self.levels.all().get(level).map_or(-1, |l| l.fd));
        let follow = if self.has(FTW_PHYS) { AT_SYMLINK_NOFOLLOW } else { 0 };
        // SAFETY: a struct of integers may be all zero.
        let mut st: libc::stat = unsafe { mem::zeroed() };
        // SAFETY: a C string and a structure of ours.
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
            // SAFETY: by the caller's word.
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

    /// The directory at `path`, with everything in it.
    ///
    /// # Safety
    /// As nftw.
    unsafe fn directory(&mut self, st: &libc::stat) -> c_int {
        // SAFETY: by the caller's word.
        unsafe {
            let depth = self.levels.len();
            let outer = self.place.base;
            if self.open(depth).is_none() {
                return if sys::errno() == libc::EACCES { self.tell(st, FTW_DNR) } else { -1 };
            }
            let mut result = if self.has(FTW_DEPTH) { 0 } else { self.tell(st, FTW_D) };
            if result == 0
                && let Some(level) = self.levels.all().get(depth).copied()
                && self.has(FTW_CHDIR)
                && my_fchdir(level.fd) < 0
            {
                result = -1;
            }
            if result != 0 {
                self.close(depth);
                return result;
            }
            self.place.level += 1;
            // The slash takes the NUL's place; "/" has one.
            self.path.pop();
            if self.path.all().last() != Some(&b'/') && self.path.push(b'/').is_none() {
                self.close(depth);
                return -1;
            }
            self.place.base = self.path.len() as c_int;
            result = self.children(depth);
            self.close(depth);
            if self.has(FTW_ACTIONRETVAL) && result == FTW_SKIP_SIBLINGS {
                result = 0;
            }
            // As glibc does it, "/" becomes empty here.
            self.path.truncate(self.base() - 1);
            if self.path.push(0).is_none() {
                return -1;
            }
            self.place.level -= 1;
            self.place.base = outer;
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

    /// # Safety
    /// As nftw.
    unsafe fn children(&mut self, depth: usize) -> c_int {
        // SAFETY: a level's stream is open or null; a name of a filled entry, and one of a list, is a C string, used
        // before the stream is read again and before the list is freed.
        unsafe {
            let level = |walk: &Self| walk.levels.all().get(depth).copied();
            while let Some(l) = level(self).filter(|l| !l.stream.is_null()) {
                let entry = my_readdir64(l.stream);
                if entry.is_null() {
                    return 0;
                }
                let name = CStr::from_ptr((&raw const (*entry).d_name).cast());
                let result = self.entry(depth, name.to_bytes());
                if result != 0 {
                    return result;
                }
            }
            let Some(mut next) = level(self).map(|l| l.names) else { return 0 };
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

fn is(st: &libc::stat, kind: libc::mode_t) -> bool {
    st.st_mode & libc::S_IFMT == kind
}
