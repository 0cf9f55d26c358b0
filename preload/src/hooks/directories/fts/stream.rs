//! Declares the structures of `fts.h`, and the functions on them that all parts of a walk need.
//!
//! Invariants:
//! - A stream's entries are linked as `fts.h` says: `cur` is the current entry, `child` is a list that was read ahead,
//!   and the chain of parents ends with the entry above the roots. The caller writes only where `fts.h` allows.
//! - The path pointer of each entry is the stream's buffer of [`LONGEST`] + 1 bytes, and every path that is written
//!   there fits. Unlike glibc's, the buffer has its full size from the start, so no pointer into it changes. Untouched
//!   memory costs nothing.
//!
//! Every unsafe function of this module and its siblings requires that the stream in its arguments is the shim's own
//! and that the entries in its arguments belong to this stream.

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::mem::{offset_of, size_of};
use core::ptr;

use crate::libc_calls::heap::{release, zeroed};

pub const FTS_COMFOLLOW: c_int = 0x1;
pub const FTS_LOGICAL: c_int = 0x2;
pub const FTS_NOCHDIR: c_int = 0x4;
pub const FTS_NOSTAT: c_int = 0x8;
pub const FTS_PHYSICAL: c_int = 0x10;
pub const FTS_SEEDOT: c_int = 0x20;
pub const FTS_XDEV: c_int = 0x40;
pub const FTS_OPTIONMASK: c_int = 0xff;
pub const FTS_NAMEONLY: c_int = 0x100;
pub const FTS_STOP: c_int = 0x200;
/// Option that marks the shim's own streams. libc has no such option.
pub const OURS: c_int = 0x4000_0000;

pub const FTS_D: u16 = 1;
pub const FTS_DC: u16 = 2;
pub const FTS_DEFAULT: u16 = 3;
pub const FTS_DNR: u16 = 4;
pub const FTS_DOT: u16 = 5;
pub const FTS_DP: u16 = 6;
pub const FTS_ERR: u16 = 7;
pub const FTS_F: u16 = 8;
pub const FTS_INIT: u16 = 9;
pub const FTS_NS: u16 = 10;
pub const FTS_NSOK: u16 = 11;
pub const FTS_SL: u16 = 12;
pub const FTS_SLNONE: u16 = 13;

pub const FTS_DONTCHDIR: u16 = 1;
pub const FTS_SYMFOLLOW: u16 = 2;

pub const FTS_AGAIN: u16 = 1;
pub const FTS_FOLLOW: u16 = 2;
pub const FTS_NOINSTR: u16 = 3;
pub const FTS_SKIP: u16 = 4;

/// Level of the entries of the arguments.
pub const ROOT: i16 = 0;
/// Level of the parent of the arguments' entries.
pub const ABOVE_ROOTS: i16 = -1;

/// Length in bytes of the longest path, which `fts.h` holds in a u16.
pub const LONGEST: usize = u16::MAX as usize;

/// The caller's function that orders entries.
pub type Compare = unsafe extern "C" fn(*const c_void, *const c_void) -> c_int;

/// `FTS`, a stream.
#[repr(C)]
pub struct Fts {
    pub cur: *mut Ent,
    pub child: *mut Ent,
    pub array: *mut *mut Ent,
    pub dev: u64,
    pub path: *mut c_char,
    pub rfd: c_int,
    pub pathlen: c_int,
    pub nitems: c_int,
    pub compar: Option<Compare>,
    pub options: c_int,
}

/// `FTSENT`, an entry. The name extends beyond the structure, and the `struct stat` follows the name.
#[repr(C)]
pub struct Ent {
    pub cycle: *mut Ent,
    pub parent: *mut Ent,
    pub link: *mut Ent,
    pub number: c_long,
    pub pointer: *mut c_void,
    pub accpath: *mut c_char,
    pub path: *mut c_char,
    pub errno: c_int,
    pub symfd: c_int,
    pub pathlen: u16,
    pub namelen: u16,
    pub ino: u64,
    pub dev: u64,
    pub nlink: libc::nlink_t,
    pub level: i16,
    pub info: u16,
    pub flags: u16,
    pub instr: u16,
    pub statp: *mut libc::stat,
    pub name: [c_char; 1],
}

// SAFETY of everything below: every caller keeps the invariants above.

/// Whether a stream has an option.
pub unsafe fn has(sp: *mut Fts, option: c_int) -> bool {
    // SAFETY: see above.
    unsafe { (*sp).options & option != 0 }
}

/// Makes an entry with this name. Null without memory.
pub unsafe fn entry(sp: *mut Fts, name: &[u8]) -> *mut Ent {
    let text = offset_of!(Ent, name);
    let st = (text + name.len() + 1).next_multiple_of(16);
    // SAFETY: the block holds the structure (with one byte of the name), the rest of the name, and the attributes.
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

/// The address of an entry's name, with the provenance of the whole block.
pub fn name_of(p: *mut Ent) -> *mut c_char {
    p.cast::<c_char>().wrapping_add(offset_of!(Ent, name))
}

/// Whether a name is `.` or `..`.
pub unsafe fn is_dot(name: *const c_char) -> bool {
    // SAFETY: the caller guarantees a C string.
    matches!(unsafe { CStr::from_ptr(name) }.to_bytes(), b"." | b"..")
}

/// Frees a list of entries.
pub unsafe fn free_list(mut p: *mut Ent) {
    while !p.is_null() {
        // SAFETY: the caller gives up the list, and nobody else holds it.
        unsafe {
            let next = (*p).link;
            release(p.cast());
            p = next;
        }
    }
}

/// Ends the walk. Returns null.
pub unsafe fn stop(sp: *mut Fts) -> *mut Ent {
    // SAFETY: see above.
    unsafe { (*sp).options |= FTS_STOP };
    ptr::null_mut()
}

/// Length in bytes of a directory's path, without a slash at its end.
pub unsafe fn directory_len(sp: *mut Fts, p: *mut Ent) -> usize {
    // SAFETY: see above.
    unsafe {
        match usize::from((*p).pathlen) {
            0 => 0,
            n if *(*sp).path.add(n - 1) as u8 == b'/' => n - 1,
            n => n,
        }
    }
}
