//! Calls that need no more than the original itself: notification and file handles.
//!
//! A path is the original's as it is, so only one through a staged descriptor is replaced. Nothing is exported for connect
//! and sendto: a socket's name is never staged, and the kernel finds it by the original path.

use core::ffi::{c_char, c_int, c_uint, c_void};

use libc::{AT_EMPTY_PATH, AT_FDCWD};

use pyshm_core::path::resolve::original;

/// `AT_SYMLINK_FOLLOW` of name_to_handle_at, which does not follow without it.
const FOLLOW: c_int = libc::AT_SYMLINK_FOLLOW;

hooks! {
    unsafe fn inotify_add_watch(queue: c_int, path: *const c_char, mask: u32) -> c_int => my_inotify_add_watch {
        let follow = mask & libc::IN_DONT_FOLLOW == 0;
        // SAFETY: the caller's own arguments.
        unsafe { original(AT_FDCWD, path, follow, false, |_, p| real!(inotify_add_watch)(queue, p, mask)) }
    }
    unsafe fn fanotify_mark(queue: c_int, flags: c_uint, mask: u64, dirfd: c_int, path: *const c_char) -> c_int => my_fanotify_mark {
        let follow = flags & libc::FAN_MARK_DONT_FOLLOW == 0;
        // SAFETY: the caller's own arguments. A null path means the descriptor.
        unsafe {
            original(dirfd, path, follow, path.is_null(), |d, p| real!(fanotify_mark)(queue, flags, mask, d, p))
        }
    }
    unsafe fn name_to_handle_at(dirfd: c_int, path: *const c_char, handle: *mut c_void, mount: *mut c_int, flags: c_int) -> c_int => my_name_to_handle_at {
        // SAFETY: the caller's own arguments.
        unsafe {
            original(dirfd, path, flags & FOLLOW != 0, flags & AT_EMPTY_PATH != 0, |d, p| {
                real!(name_to_handle_at)(d, p, handle, mount, flags)
            })
        }
    }
}
