//! Reads one directory of a walk into a list of entries.

use core::ffi::{CStr, c_char, c_int};
use core::mem::{self, size_of};
use core::ptr;

use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, DIR};
use pyshm_core::base::sys;
use pyshm_core::decide::view::Follow;

use super::stream::*;
use crate::hooks::attributes::stat::{stat_at, stat_fd};
use crate::hooks::directories::dirent::{closedir, opendir, readdir};
use crate::hooks::files::cwd::fchdir;
use crate::hooks::files::open::open;
use crate::libc_calls::heap::release;
use crate::libc_calls::lazy_libc;

// SAFETY of everything below: the invariants of `stream`.

/// Why a directory is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// For fts_children.
    Children,
    /// For fts_children with FTS_NAMEONLY.
    Names,
    /// For fts_read.
    Read,
}

/// Reads the entries of the current directory. Null if the directory has no entries or cannot be read.
pub unsafe fn build(sp: *mut Fts, purpose: Purpose) -> *mut Ent {
    // SAFETY: see above.
    unsafe {
        let cur = (*sp).cur;
        let mut dir = opendir::hook((*cur).accpath);
        if dir.is_null() {
            if purpose == Purpose::Read {
                (*cur).info = FTS_DNR;
                (*cur).errno = sys::errno();
            }
            return ptr::null_mut();
        }
        let by_type = has(sp, FTS_NOSTAT) && has(sp, FTS_PHYSICAL);
        // Number of subdirectories that may still come; -1 if the number is unknown. For `Names` the number is 0,
        // because no subdirectory is looked for.
        let links = match purpose {
            Purpose::Names => 0,
            _ if by_type => (*cur).nlink as c_int - if has(sp, FTS_SEEDOT) { 0 } else { 2 },
            _ => -1,
        };
        let mut descended = false;
        if links != 0 || purpose == Purpose::Read {
            descended = change(sp, cur, lazy_libc::dirfd(dir), ptr::null()) == 0;
            if !descended {
                if links != 0 && purpose == Purpose::Read {
                    (*cur).errno = sys::errno();
                }
                (*cur).flags |= FTS_DONTCHDIR;
                closedir::hook(dir);
                dir = ptr::null_mut();
            }
        }
        let len = directory_len(sp, cur) + 1;
        let mut end = ptr::null_mut();
        if has(sp, FTS_NOCHDIR) {
            end = (*sp).path.add(len);
            end.sub(1).write(b'/' as c_char);
        }
        let mut list = List { first: ptr::null_mut(), last: ptr::null_mut(), count: 0 };
        let filled = fill(sp, &mut list, dir, len, links, by_type && purpose != Purpose::Names);
        if !dir.is_null() {
            let errno = sys::errno();
            closedir::hook(dir);
            sys::set_errno(errno);
        }
        if filled.is_none() {
            (*cur).info = FTS_ERR;
            free_list(list.first);
            return stop(sp);
        }
        if !end.is_null() {
            end.sub(usize::from(list.count == 0)).write(0);
        }
        if descended && (purpose == Purpose::Children || list.count == 0) {
            let back = if (*cur).level != ROOT {
                change(sp, (*cur).parent, -1, c"..".as_ptr())
            } else if has(sp, FTS_NOCHDIR) {
                0
            } else {
                fchdir::hook((*sp).rfd)
            };
            if back < 0 {
                (*cur).info = FTS_ERR;
                free_list(list.first);
                return stop(sp);
            }
        }
        if list.count == 0 {
            if purpose == Purpose::Read {
                (*cur).info = FTS_DP;
            }
            return ptr::null_mut();
        }
        if (*sp).compar.is_some() && list.count > 1 {
            return sort(sp, list.first, list.count);
        }
        list.first
    }
}

/// A list of entries under construction.
struct List {
    first: *mut Ent,
    last: *mut Ent,
    count: usize,
}

/// Adds an entry to `list` for each name in the stream `dir`. `None` if the walk must end.
unsafe fn fill(
    sp: *mut Fts,
    list: &mut List,
    dir: *mut DIR,
    len: usize,
    mut links: c_int,
    by_type: bool,
) -> Option<()> {
    // SAFETY: see above. The name of a filled directory entry is a C string.
    unsafe {
        let nochdir = has(sp, FTS_NOCHDIR);
        while !dir.is_null() {
            let d = readdir::hook(dir);
            if d.is_null() {
                break;
            }
            let text: *const c_char = (&raw const (*d).d_name).cast();
            if !has(sp, FTS_SEEDOT) && is_dot(text) {
                continue;
            }
            let name = CStr::from_ptr(text).to_bytes();
            if len + name.len() >= LONGEST {
                sys::set_errno(libc::ENAMETOOLONG);
                return None;
            }
            let p = entry(sp, name);
            if p.is_null() {
                return None;
            }
            (*p).level = (*(*sp).cur).level + 1;
            (*p).parent = (*sp).cur;
            (*p).pathlen = (len + name.len()) as u16;
            (*p).accpath = if nochdir { (*p).path } else { name_of(p) };
            let no_directory = !matches!((*d).d_type, libc::DT_DIR | libc::DT_UNKNOWN);
            if links == 0 || by_type && no_directory {
                (*p).info = FTS_NSOK;
            } else {
                if nochdir {
                    let to = (*sp).path.add(len);
                    ptr::copy_nonoverlapping(name_of(p), to, name.len() + 1);
                }
                (*p).info = status(sp, p, Follow::No);
                if links > 0 && matches!((*p).info, FTS_D | FTS_DC | FTS_DOT) {
                    links -= 1;
                }
            }
            if list.last.is_null() {
                list.first = p;
            } else {
                (*list.last).link = p;
            }
            list.last = p;
            list.count += 1;
        }
        Some(())
    }
}

/// Reads the attributes of an entry and returns its kind (`FTS_…`).
pub unsafe fn status(sp: *mut Fts, p: *mut Ent, follow: Follow) -> u16 {
    // SAFETY: see above. A struct of integers may be zero.
    unsafe {
        let mut own: libc::stat = mem::zeroed();
        let st = if has(sp, FTS_NOSTAT) { &raw mut own } else { (*p).statp };
        let look = |flags| stat_at(AT_FDCWD, (*p).accpath, st, flags);
        let followed = follow.is_yes() || has(sp, FTS_LOGICAL);
        if look(if followed { 0 } else { AT_SYMLINK_NOFOLLOW }) < 0 {
            let errno = sys::errno();
            if followed && look(AT_SYMLINK_NOFOLLOW) == 0 {
                sys::set_errno(0);
                return FTS_SLNONE;
            }
            (*p).errno = errno;
            st.write(mem::zeroed());
            return FTS_NS;
        }
        match (*st).st_mode & libc::S_IFMT {
            libc::S_IFDIR => {}
            libc::S_IFLNK => return FTS_SL,
            libc::S_IFREG => return FTS_F,
            _ => return FTS_DEFAULT,
        }
        ((*p).dev, (*p).ino, (*p).nlink) = ((*st).st_dev, (*st).st_ino, (*st).st_nlink);
        if is_dot(name_of(p)) {
            return FTS_DOT;
        }
        let mut above = (*p).parent;
        while (*above).level >= ROOT {
            if ((*above).ino, (*above).dev) == ((*p).ino, (*p).dev) {
                (*p).cycle = above;
                return FTS_DC;
            }
            above = (*above).parent;
        }
        FTS_D
    }
}

/// Sorts a list of `count` entries, at least two, by the caller's function. Returns the new first entry. Without memory
/// the list stays unsorted.
pub unsafe fn sort(sp: *mut Fts, first: *mut Ent, count: usize) -> *mut Ent {
    // SAFETY: see above. The array has room for the list.
    unsafe {
        if count > (*sp).nitems as usize {
            let array = libc::malloc((count + 40) * size_of::<*mut Ent>());
            if array.is_null() {
                return first;
            }
            release((*sp).array.cast());
            (*sp).array = array.cast();
            (*sp).nitems = (count + 40) as c_int;
        }
        let array = (*sp).array;
        let mut p = first;
        for i in 0..count {
            array.add(i).write(p);
            p = (*p).link;
        }
        lazy_libc::qsort(array.cast(), count, size_of::<*mut Ent>(), (*sp).compar);
        for i in 1..count {
            (**array.add(i - 1)).link = *array.add(i);
        }
        (**array.add(count - 1)).link = ptr::null_mut();
        *array
    }
}

/// Changes to the directory `p`, by a descriptor or, if the descriptor is negative, by a path. Fails with ENOENT if the
/// descriptor or path leads to another directory.
pub unsafe fn change(sp: *mut Fts, p: *mut Ent, fd: c_int, path: *const c_char) -> c_int {
    // SAFETY: see above. The structure is on this stack.
    unsafe {
        if has(sp, FTS_NOCHDIR) {
            return 0;
        }
        let to = if fd < 0 { open::hook(path, libc::O_RDONLY, 0) } else { fd };
        if to < 0 {
            return -1;
        }
        let mut st: libc::stat = mem::zeroed();
        let mut result = stat_fd(to, &raw mut st);
        if result == 0 {
            result = if ((*p).dev, (*p).ino) == (st.st_dev, st.st_ino) {
                fchdir::hook(to)
            } else {
                sys::fail(libc::ENOENT)
            };
        }
        if fd < 0 {
            sys::close(to);
        }
        result
    }
}
