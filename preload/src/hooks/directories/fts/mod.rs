//! Hooks fts. libc's walk reaches no hook, so a walk that may meet a prefix is done here, by the hooked functions. libc
//! does every other walk.
//!
//! Callers see the structures of `fts.h` ([`stream`]), the path in `fts_path` and, without FTS_NOCHDIR, the working
//! directory. All of these always have the values that glibc's walk would give them. The shim's own streams have
//! [`OURS`] among their options. fts_set needs no hook, because libc's only writes to an entry.

use core::ffi::{CStr, c_char, c_int};
use core::mem::size_of;
use core::ptr;

use pyshm_core::base::sys;
use pyshm_core::decide::view::Follow;
use pyshm_core::path::resolve::meets_prefix;
use pyshm_core::stage::current::stage;

mod list;
mod stream;
mod walk;

use list::{sort, status};
use stream::*;
use walk::{children, read};

use crate::hooks::files::cwd::fchdir;
use crate::hooks::files::open::open;
use crate::libc_calls::heap::{release, zeroed};

// On 64-bit systems the structures of the large-file names are the same.
hooks! {
    fn fts_open, fts64_open(paths: *const *mut c_char, options: c_int, compar: Option<Compare>) -> *mut Fts
        = |real| if concerned(paths, options) { open_walk(paths, options, compar) } else { real(paths, options, compar) };
    fn fts_read, fts64_read(sp: *mut Fts) -> *mut Ent
        = |real| if ours(sp) { read(sp) } else { real(sp) };
    fn fts_children, fts64_children(sp: *mut Fts, options: c_int) -> *mut Ent
        = |real| if ours(sp) { children(sp, options) } else { real(sp, options) };
    fn fts_close, fts64_close(sp: *mut Fts) -> c_int
        = |real| if ours(sp) { close_walk(sp) } else { real(sp) };
}

/// Whether a walk from these paths is done here, not by libc.
///
/// # Safety
/// As fts_open.
unsafe fn concerned(paths: *const *mut c_char, options: c_int) -> bool {
    if stage().is_none() || options & !FTS_OPTIONMASK != 0 {
        return false;
    }
    let mut next = paths;
    // SAFETY: the caller guarantees C strings and a null pointer behind them.
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

/// Whether a stream is the shim's own.
///
/// # Safety
/// `sp` must be a stream.
unsafe fn ours(sp: *mut Fts) -> bool {
    // SAFETY: the caller guarantees a stream, and both kinds begin with the public structure.
    unsafe { (*sp).options & OURS != 0 }
}

// SAFETY of everything below: the invariants of [`stream`].

/// Implements fts_open.
unsafe fn open_walk(
    paths: *const *mut c_char,
    options: c_int,
    compar: Option<Compare>,
) -> *mut Fts {
    // SAFETY: see above. A stream that is given up is freed once.
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
                    (*sp).rfd = open::hook(c".".as_ptr(), libc::O_RDONLY, 0);
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

/// Makes entries for the arguments. `None` with errno set if an argument is refused or memory is missing.
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
            // glibc's limit is 257 bytes lower, because it enlarges its buffer in steps.
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
            (*p).info = match status(sp, p, Follow::unless(!has(sp, FTS_COMFOLLOW))) {
                FTS_DOT => FTS_D,
                info => info,
            };
            if (*sp).compar.is_some() {
                // Entries that compare as equal come in reverse order, as in glibc.
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

/// Implements fts_close.
unsafe fn close_walk(sp: *mut Fts) -> c_int {
    // SAFETY: see above. The stream is freed last.
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
            result = fchdir::hook((*sp).rfd);
            sys::close((*sp).rfd);
        }
        release(sp.cast());
        result
    }
}
