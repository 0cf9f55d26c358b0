//! Reading one directory of a hierarchy into a list of entries.

use core::ffi::{CStr, c_char, c_int};
use core::mem::{self, size_of};
use core::ptr;

use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, DIR};

use super::walk::{directory_len, stop};
use super::*;
use crate::hooks::attributes::stat::stat_at;
use crate::hooks::attributes::stat::stat_fd;
use crate::hooks::directories::dirent::my_closedir;
use crate::hooks::directories::dirent::my_opendir;
use crate::hooks::directories::dirent::my_readdir;
use crate::libc_calls::lazy_libc;

// SAFETY of everything below: as in the module above.

/// What a directory is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Children,
    Names,
    Read,
}

/// The entries of the current directory; null if there are none, or it could not be read.
pub(super) unsafe fn build(sp: *mut Fts, purpose: For) -> *mut Ent {
    // SAFETY: see above.
    unsafe {
        let cur = (*sp).cur;
        let mut dir = my_opendir((*cur).accpath);
        if dir.is_null() {
            if purpose == For::Read {
                (*cur).info = FTS_DNR;
                (*cur).errno = sys::errno();
            }
            return ptr::null_mut();
        }
        let by_type = has(sp, FTS_NOSTAT) && has(sp, FTS_PHYSICAL);
        // How many directories may still come: none is looked for in `Names`, and -1 is any number.
        let links = match purpose {
            For::Names => 0,
            _ if by_type => (*cur).nlink as c_int - if has(sp, FTS_SEEDOT) { 0 } else { 2 },
            _ => -1,
        };
        let mut descended = false;
        if links != 0 || purpose == For::Read {
            descended = change(sp, cur, libc::dirfd(dir), ptr::null()) == 0;
            if !descended {
                if links != 0 && purpose == For::Read {
                    (*cur).errno = sys::errno();
                }
                (*cur).flags |= FTS_DONTCHDIR;
                my_closedir(dir);
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
        let filled = fill(sp, &mut list, dir, len, links, by_type && purpose != For::Names);
        if !dir.is_null() {
            let errno = sys::errno();
            my_closedir(dir);
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
        if descended && (purpose == For::Children || list.count == 0) {
            let back = if (*cur).level != ROOT {
                change(sp, (*cur).parent, -1, c"..".as_ptr())
            } else if has(sp, FTS_NOCHDIR) {
                0
            } else {
                my_fchdir((*sp).rfd)
            };
            if back < 0 {
                (*cur).info = FTS_ERR;
                free_list(list.first);
                return stop(sp);
            }
        }
        if list.count == 0 {
            if purpose == For::Read {
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

struct List {
    first: *mut Ent,
    last: *mut Ent,
    count: usize,
}

/// Reads the names of the directory stream `dir`; `None` if the walk must end.
unsafe fn fill(
    sp: *mut Fts,
    list: &mut List,
    dir: *mut DIR,
    len: usize,
    mut links: c_int,
    by_type: bool,
) -> Option<()> {
    // SAFETY: see above; the name of a filled directory entry is a C string.
    unsafe {
        let nochdir = has(sp, FTS_NOCHDIR);
        while !dir.is_null() {
            let d = my_readdir(dir);
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
                (*p).info = status(sp, p, false);
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

/// What an entry is; its attributes are filled in.
pub(super) unsafe fn status(sp: *mut Fts, p: *mut Ent, follow: bool) -> u16 {
    // SAFETY: see above; a struct of integers may be all zero.
    unsafe {
        let mut own: libc::stat = mem::zeroed();
        let st = if has(sp, FTS_NOSTAT) { &raw mut own } else { (*p).statp };
        let look = |flags| stat_at(AT_FDCWD, (*p).accpath, st, flags);
        let followed = follow || has(sp, FTS_LOGICAL);
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

/// Sorts a list of `count` entries, more than one, by the caller's function.
pub(super) unsafe fn sort(sp: *mut Fts, first: *mut Ent, count: usize) -> *mut Ent {
    // SAFETY: see above; the array has room for the list.
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

/// Goes to the directory `p` by a descriptor or else by a path, if that is still the same directory.
pub(super) unsafe fn change(sp: *mut Fts, p: *mut Ent, fd: c_int, path: *const c_char) -> c_int {
    // SAFETY: see above; a structure of ours.
    unsafe {
        if has(sp, FTS_NOCHDIR) {
            return 0;
        }
        let to = if fd < 0 { my_open(path, libc::O_RDONLY, 0) } else { fd };
        if to < 0 {
            return -1;
        }
        let mut st: libc::stat = mem::zeroed();
        let mut result = stat_fd(to, &raw mut st);
        if result == 0 {
            result = if ((*p).dev, (*p).ino) == (st.st_dev, st.st_ino) {
                my_fchdir(to)
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
