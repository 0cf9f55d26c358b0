//! Implements fts_read and fts_children.

use core::ffi::{CStr, c_char, c_int};
use core::mem;
use core::ptr;

use pyshm_core::base::sys;
use pyshm_core::decide::view::Follow;

use super::list::{Purpose, build, change, status};
use super::stream::*;
use crate::hooks::files::cwd::fchdir;
use crate::hooks::files::open::open;
use crate::libc_calls::heap::release;

// SAFETY of everything below: the invariants of `stream`.

/// Implements fts_read.
pub unsafe fn read(sp: *mut Fts) -> *mut Ent {
    // SAFETY: see above.
    unsafe {
        let p = (*sp).cur;
        if p.is_null() || has(sp, FTS_STOP) {
            return ptr::null_mut();
        }
        let instr = mem::replace(&mut (*p).instr, FTS_NOINSTR);
        if instr == FTS_AGAIN {
            (*p).info = status(sp, p, Follow::No);
            return p;
        }
        if instr == FTS_FOLLOW && matches!((*p).info, FTS_SL | FTS_SLNONE) {
            follow(sp, p);
            return p;
        }
        if (*p).info == FTS_D { enter(sp, p, instr) } else { next(sp, p) }
    }
}

/// Follows a symbolic link, and keeps a descriptor of the directory that contains it.
unsafe fn follow(sp: *mut Fts, p: *mut Ent) {
    // SAFETY: see above.
    unsafe {
        (*p).info = status(sp, p, Follow::Yes);
        if (*p).info == FTS_D && !has(sp, FTS_NOCHDIR) {
            (*p).symfd = open::hook(c".".as_ptr(), libc::O_RDONLY, 0);
            if (*p).symfd < 0 {
                (*p).errno = sys::errno();
                (*p).info = FTS_ERR;
            } else {
                (*p).flags |= FTS_SYMFOLLOW;
            }
        }
    }
}

/// Goes from a directory to its first entry.
unsafe fn enter(sp: *mut Fts, p: *mut Ent, instr: u16) -> *mut Ent {
    // SAFETY: see above.
    unsafe {
        if instr == FTS_SKIP || has(sp, FTS_XDEV) && (*p).dev != (*sp).dev {
            if (*p).flags & FTS_SYMFOLLOW != 0 {
                sys::close((*p).symfd);
            }
            free_list(mem::replace(&mut (*sp).child, ptr::null_mut()));
            (*p).info = FTS_DP;
            return p;
        }
        if !(*sp).child.is_null() && has(sp, FTS_NAMEONLY) {
            (*sp).options &= !FTS_NAMEONLY;
            free_list(mem::replace(&mut (*sp).child, ptr::null_mut()));
        }
        if (*sp).child.is_null() {
            (*sp).child = build(sp, Purpose::Read);
            if (*sp).child.is_null() {
                return if has(sp, FTS_STOP) { ptr::null_mut() } else { p };
            }
        } else if change(sp, p, -1, (*p).accpath) < 0 {
            (*p).errno = sys::errno();
            (*p).flags |= FTS_DONTCHDIR;
            let mut child = (*sp).child;
            while !child.is_null() {
                (*child).accpath = (*(*child).parent).accpath;
                child = (*child).link;
            }
        }
        let child = mem::replace(&mut (*sp).child, ptr::null_mut());
        (*sp).cur = child;
        named(sp, child)
    }
}

/// Goes to the next entry of the same directory, or back to the directory.
unsafe fn next(sp: *mut Fts, mut p: *mut Ent) -> *mut Ent {
    // SAFETY: see above. An entry that the walk leaves is freed once.
    unsafe {
        loop {
            let left = p;
            p = (*left).link;
            if p.is_null() {
                let parent = (*left).parent;
                (*sp).cur = parent;
                release(left.cast());
                return up(sp, parent);
            }
            (*sp).cur = p;
            release(left.cast());
            if (*p).level == ROOT {
                if !has(sp, FTS_NOCHDIR) && fchdir::hook((*sp).rfd) < 0 {
                    return stop(sp);
                }
                load(sp, p);
                return p;
            }
            match (*p).instr {
                FTS_SKIP => continue,
                FTS_FOLLOW => {
                    follow(sp, p);
                    (*p).instr = FTS_NOINSTR;
                }
                _ => {}
            }
            return named(sp, p);
        }
    }
}

/// Goes back to a directory from its last entry.
unsafe fn up(sp: *mut Fts, p: *mut Ent) -> *mut Ent {
    // SAFETY: see above.
    unsafe {
        if (*p).level == ABOVE_ROOTS {
            release(p.cast());
            (*sp).cur = ptr::null_mut();
            // The caller tells the end from a failure by errno.
            sys::set_errno(0);
            return ptr::null_mut();
        }
        (*sp).path.add(usize::from((*p).pathlen)).write(0);
        let chdir = !has(sp, FTS_NOCHDIR);
        if (*p).level == ROOT {
            if chdir && fchdir::hook((*sp).rfd) < 0 {
                return stop(sp);
            }
        } else if (*p).flags & FTS_SYMFOLLOW != 0 {
            let failed = chdir && fchdir::hook((*p).symfd) < 0;
            sys::close((*p).symfd);
            if failed {
                return stop(sp);
            }
        } else if (*p).flags & FTS_DONTCHDIR == 0 && change(sp, (*p).parent, -1, c"..".as_ptr()) < 0
        {
            return stop(sp);
        }
        (*p).info = if (*p).errno == 0 { FTS_DP } else { FTS_ERR };
        p
    }
}

/// Begins the walk of an argument's tree.
unsafe fn load(sp: *mut Fts, p: *mut Ent) {
    // SAFETY: see above. A part of the name moves within the name.
    unsafe {
        let n = usize::from((*p).namelen);
        (*p).pathlen = (*p).namelen;
        ptr::copy_nonoverlapping(name_of(p), (*sp).path, n + 1);
        let name = CStr::from_ptr(name_of(p)).to_bytes();
        if let Some(slash) = name.iter().rposition(|&b| b == b'/')
            && (slash > 0 || n > 1)
        {
            ptr::copy(name_of(p).add(slash + 1), name_of(p), n - slash);
            (*p).namelen = (n - slash - 1) as u16;
        }
        (*p).accpath = (*sp).path;
        (*sp).dev = (*p).dev;
    }
}

/// Writes the path of an entry into the stream's buffer. Returns the entry.
unsafe fn named(sp: *mut Fts, p: *mut Ent) -> *mut Ent {
    // SAFETY: see above. `build` has checked that the path fits.
    unsafe {
        let slash = (*sp).path.add(directory_len(sp, (*p).parent));
        slash.write(b'/' as c_char);
        ptr::copy_nonoverlapping(name_of(p), slash.add(1), usize::from((*p).namelen) + 1);
        p
    }
}

/// Implements fts_children.
pub unsafe fn children(sp: *mut Fts, options: c_int) -> *mut Ent {
    if options != 0 && options != FTS_NAMEONLY {
        sys::set_errno(libc::EINVAL);
        return ptr::null_mut();
    }
    // SAFETY: see above.
    unsafe {
        let p = (*sp).cur;
        // The caller tells an empty directory from a failure by errno.
        sys::set_errno(0);
        if p.is_null() || has(sp, FTS_STOP) {
            return ptr::null_mut();
        }
        if (*p).info == FTS_INIT {
            return (*p).link;
        }
        if (*p).info != FTS_D {
            return ptr::null_mut();
        }
        free_list(mem::replace(&mut (*sp).child, ptr::null_mut()));
        let mut purpose = Purpose::Children;
        if options == FTS_NAMEONLY {
            (*sp).options |= FTS_NAMEONLY;
            purpose = Purpose::Names;
        }
        let absolute = *(*p).accpath as u8 == b'/';
        if (*p).level != ROOT || absolute || has(sp, FTS_NOCHDIR) {
            (*sp).child = build(sp, purpose);
            return (*sp).child;
        }
        // The walk has not yet changed to this relative argument, and only a descriptor leads back from the argument's
        // directory.
        let here = open::hook(c".".as_ptr(), libc::O_RDONLY, 0);
        if here < 0 {
            return ptr::null_mut();
        }
        (*sp).child = build(sp, purpose);
        let back = fchdir::hook(here);
        sys::close(here);
        if back < 0 { ptr::null_mut() } else { (*sp).child }
    }
}
