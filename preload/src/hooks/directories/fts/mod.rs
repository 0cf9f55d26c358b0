//! fts: libc's walk inside itself. A walk from where a prefix may be met is done here, by the hooked functions; every
//! other one is libc's own business.
//!
//! What callers see is public in `fts.h`: [`Fts`], [`Ent`], the working directory without FTS_NOCHDIR, and what stands
//! in `fts_path` at what time. All of it is as glibc's leaves it. Our streams carry [`OURS`] among their options;
//! fts_set only writes to an entry, so libc's serves both kinds.
//!
//! Unlike glibc's, the path's buffer has its full size from the start (a path is shorter than 64 KB, and memory that is
//! not touched costs nothing), so no pointer into it ever changes.

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::mem::{offset_of, size_of};
use core::ptr;

use crate::hooks::files::cwd::my_fchdir;
use crate::hooks::files::open::my_open;
use crate::libc_calls::heap::release;
use crate::libc_calls::heap::zeroed;
use pyshm_core::base::sys;
use pyshm_core::path::resolve::meets_prefix;
use pyshm_core::stage::current::stage;

mod list;
mod walk;

use list::{sort, status};
use walk::{children, read};

const FTS_COMFOLLOW: c_int = 0x1;
const FTS_LOGICAL: c_int = 0x2;
const FTS_NOCHDIR: c_int = 0x4;
const FTS_NOSTAT: c_int = 0x8;
const FTS_PHYSICAL: c_int = 0x10;
const FTS_SEEDOT: c_int = 0x20;
const FTS_XDEV: c_int = 0x40;
const FTS_OPTIONMASK: c_int = 0xff;
const FTS_NAMEONLY: c_int = 0x100;
const FTS_STOP: c_int = 0x200;
/// An option that libc does not have.
const OURS: c_int = 0x4000_0000;

const FTS_D: u16 = 1;
const FTS_DC: u16 = 2;
const FTS_DEFAULT: u16 = 3;
const FTS_DNR: u16 = 4;
const FTS_DOT: u16 = 5;
const FTS_DP: u16 = 6;
const FTS_ERR: u16 = 7;
const FTS_F: u16 = 8;
const FTS_INIT: u16 = 9;
const FTS_NS: u16 = 10;
const FTS_NSOK: u16 = 11;
const FTS_SL: u16 = 12;
const FTS_SLNONE: u16 = 13;

const FTS_DONTCHDIR: u16 = 1;
const FTS_SYMFOLLOW: u16 = 2;

const FTS_AGAIN: u16 = 1;
const FTS_FOLLOW: u16 = 2;
const FTS_NOINSTR: u16 = 3;
const FTS_SKIP: u16 = 4;

const ROOT: i16 = 0;
const ABOVE_ROOTS: i16 = -1;

/// A path's length is a u16 in `fts.h`.
const LONGEST: usize = u16::MAX as usize;

type Compare = unsafe extern "C" fn(*const c_void, *const c_void) -> c_int;

/// `FTS`.
#[repr(C)]
pub struct Fts {
    cur: *mut Ent,
    child: *mut Ent,
    array: *mut *mut Ent,
    dev: u64,
    path: *mut c_char,
    rfd: c_int,
    pathlen: c_int,
    nitems: c_int,
    compar: Option<Compare>,
    options: c_int,
}

/// `FTSENT`; its name goes on behind it, and behind that is the `struct stat`.
#[repr(C)]
pub struct Ent {
    cycle: *mut Ent,
    parent: *mut Ent,
    link: *mut Ent,
    number: c_long,
    pointer: *mut c_void,
    accpath: *mut c_char,
    path: *mut c_char,
    errno: c_int,
    symfd: c_int,
    pathlen: u16,
    namelen: u16,
    ino: u64,
    dev: u64,
    nlink: libc::nlink_t,
    level: i16,
    info: u16,
    flags: u16,
    instr: u16,
    statp: *mut libc::stat,
    name: [c_char; 1],
}

hooks! {
    unsafe fn fts_open(paths: *const *mut c_char, options: c_int, compar: Option<Compare>) -> *mut Fts => my_fts_open {
        // SAFETY: the caller's own arguments.
        unsafe { if concerned(paths, options) { open(paths, options, compar) } else { real!(fts_open)(paths, options, compar) } }
    }
    unsafe fn fts_read(sp: *mut Fts) -> *mut Ent => my_fts_read {
        // SAFETY: the caller's own stream.
        unsafe { if ours(sp) { read(sp) } else { real!(fts_read)(sp) } }
    }
    unsafe fn fts_children(sp: *mut Fts, options: c_int) -> *mut Ent => my_fts_children {
        // SAFETY: the caller's own stream.
        unsafe { if ours(sp) { children(sp, options) } else { real!(fts_children)(sp, options) } }
    }
    unsafe fn fts_close(sp: *mut Fts) -> c_int => my_fts_close {
        // SAFETY: the caller's own stream.
        unsafe { if ours(sp) { close(sp) } else { real!(fts_close)(sp) } }
    }
    // On 64-bit systems the structures of the large-file names are the same.
    unsafe fn fts64_open(paths: *const *mut c_char, options: c_int, compar: Option<Compare>) -> *mut Fts => my_fts64_open {
        // SAFETY: the caller's own arguments.
        unsafe { if concerned(paths, options) { open(paths, options, compar) } else { real!(fts64_open)(paths, options, compar) } }
    }
    unsafe fn fts64_read(sp: *mut Fts) -> *mut Ent => my_fts64_read {
        // SAFETY: the caller's own stream.
        unsafe { if ours(sp) { read(sp) } else { real!(fts64_read)(sp) } }
    }
    unsafe fn fts64_children(sp: *mut Fts, options: c_int) -> *mut Ent => my_fts64_children {
        // SAFETY: the caller's own stream.
        unsafe { if ours(sp) { children(sp, options) } else { real!(fts64_children)(sp, options) } }
    }
    unsafe fn fts64_close(sp: *mut Fts) -> c_int => my_fts64_close {
        // SAFETY: the caller's own stream.
        unsafe { if ours(sp) { close(sp) } else { real!(fts64_close)(sp) } }
    }
}

/// # Safety
/// As fts_open.
unsafe fn concerned(paths: *const *mut c_char, options: c_int) -> bool {
    if stage().is_none() || options & !FTS_OPTIONMASK != 0 {
        return false;
    }
    let mut next = paths;
    // SAFETY: by the caller's word, C strings and a null pointer behind them.
    unsafe {
        while !(*next).is_null() {
            if meets_prefix(*next) {
                return true;
            }
            next = next.add(1);
        }
    }
    false
}

/// # Safety
/// `sp` must be a stream.
unsafe fn ours(sp: *mut Fts) -> bool {
    // SAFETY: by the caller's word; both kinds begin with the public structure.
    unsafe { (*sp).options & OURS != 0 }
}

// SAFETY of everything below, and of the modules: the stream is one of ours and its entries are linked as fts.h says: `cur` is the current
// one, `child` a list that was read ahead, and parents end with the one above the roots. The caller may write only
// where fts.h allows. Each entry's path pointer is the stream's buffer of LONGEST + 1 bytes, and no path that is put
// there is longer.

unsafe fn has(sp: *mut Fts, option: c_int) -> bool {
    // SAFETY: see above.
    unsafe { (*sp).options & option != 0 }
}

/// An entry with this name, or null.
unsafe fn entry(sp: *mut Fts, name: &[u8]) -> *mut Ent {
    let text = offset_of!(Ent, name);
    let st = (text + name.len() + 1).next_multiple_of(16);
    // SAFETY: the block holds the structure (whose name has one byte), the name, and the attributes behind it.
    unsafe {
        let p: *mut Ent = zeroed(size_of::<Ent>().max(st + size_of::<libc::stat>())).cast();
        if p.is_null() {
            return p;
        }
        ptr::copy_nonoverlapping(name.as_ptr(), p.cast::<u8>().add(text), name.len());
        if !has(sp, FTS_NOSTAT) {
            (*p).statp = p.cast::<u8>().add(st).cast();
        }
        (*p).namelen = name.len() as u16;
        (*p).path = (*sp).path;
        (*p).instr = FTS_NOINSTR;
        p
    }
}

/// The address of an entry's name, with leave to all of it.
fn name_of(p: *mut Ent) -> *mut c_char {
    p.cast::<c_char>().wrapping_add(offset_of!(Ent, name))
}

unsafe fn is_dot(name: *const c_char) -> bool {
    // SAFETY: a C string.
    matches!(unsafe { CStr::from_ptr(name) }.to_bytes(), b"." | b"..")
}

unsafe fn free_list(mut p: *mut Ent) {
    while !p.is_null() {
        // SAFETY: a list of entries that nobody else has.
        unsafe {
            let next = (*p).link;
            release(p.cast());
            p = next;
        }
    }
}

unsafe fn open(paths: *const *mut c_char, options: c_int, compar: Option<Compare>) -> *mut Fts {
    // SAFETY: see above; a stream that is given up is freed once.
    unsafe {
        let sp: *mut Fts = zeroed(size_of::<Fts>()).cast();
        if sp.is_null() {
            return sp;
        }
        (*sp).compar = compar;
        (*sp).options = options | OURS;
        if has(sp, FTS_LOGICAL) {
            (*sp).options |= FTS_NOCHDIR;
        }
        (*sp).path = libc::malloc(LONGEST + 1).cast();
        (*sp).pathlen = LONGEST as c_int;
        let parent = if (*sp).path.is_null() { ptr::null_mut() } else { entry(sp, b"") };
        if !parent.is_null() {
            (*parent).level = ABOVE_ROOTS;
            let mut first = ptr::null_mut();
            if roots(sp, parent, paths, &mut first).is_some() {
                (*sp).cur = entry(sp, b"");
            }
            let cur = (*sp).cur;
            if !cur.is_null() {
                ((*cur).link, (*cur).parent, (*cur).info) = (first, parent, FTS_INIT);
                if !has(sp, FTS_NOCHDIR) {
                    (*sp).rfd = my_open(c".".as_ptr(), libc::O_RDONLY, 0);
                    if (*sp).rfd < 0 {
                        (*sp).options |= FTS_NOCHDIR;
                    }
                }
                return sp;
            }
            free_list(first);
        }
        release(parent.cast());
        release((*sp).path.cast());
        release(sp.cast());
        ptr::null_mut()
    }
}

/// Entries for the arguments.
unsafe fn roots(
    sp: *mut Fts,
    parent: *mut Ent,
    paths: *const *mut c_char,
    first: &mut *mut Ent,
) -> Option<()> {
    // SAFETY: see above.
    unsafe {
        let (mut last, mut count, mut next): (*mut Ent, usize, _) = (ptr::null_mut(), 0, paths);
        while !(*next).is_null() {
            let name = CStr::from_ptr(*next).to_bytes();
            // glibc's own limit is lower by what it adds to its buffer at a time.
            if name.is_empty() || name.len() + 257 >= LONGEST {
                sys::set_errno(if name.is_empty() { libc::ENOENT } else { libc::ENAMETOOLONG });
                return None;
            }
            let p = entry(sp, name);
            if p.is_null() {
                return None;
            }
            (*p).level = ROOT;
            (*p).parent = parent;
            (*p).accpath = name_of(p);
            (*p).info = match status(sp, p, has(sp, FTS_COMFOLLOW)) {
                FTS_DOT => FTS_D,
                info => info,
            };
            if (*sp).compar.is_some() {
                // What compares as equal comes in reverse order: that is what sorting such a list gives.
                (*p).link = *first;
                *first = p;
            } else if last.is_null() {
                *first = p;
            } else {
                (*last).link = p;
            }
            last = p;
            count += 1;
            next = next.add(1);
        }
        if (*sp).compar.is_some() && count > 1 {
            *first = sort(sp, *first, count);
        }
        Some(())
    }
}

unsafe fn close(sp: *mut Fts) -> c_int {
    // SAFETY: see above; afterwards the stream is no more.
    unsafe {
        let mut p = (*sp).cur;
        while !p.is_null() {
            let done = (*p).level == ABOVE_ROOTS;
            let next = if (*p).link.is_null() { (*p).parent } else { (*p).link };
            release(p.cast());
            p = if done { ptr::null_mut() } else { next };
        }
        free_list((*sp).child);
        release((*sp).array.cast());
        release((*sp).path.cast());
        let mut result = 0;
        if !has(sp, FTS_NOCHDIR) {
            result = my_fchdir((*sp).rfd);
            sys::close((*sp).rfd);
        }
        release(sp.cast());
        result
    }
}
