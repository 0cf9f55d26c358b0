//! Hooks the calls for notification and file handles, which must reach the original.
//!
//! A path goes to the kernel unchanged unless the path leads through a redirected descriptor. connect and sendto have
//! no hook, because a socket is never staged and the kernel finds the socket by the original path.

use core::ffi::{c_char, c_int, c_uint, c_void};

use libc::{AT_FDCWD, AT_SYMLINK_FOLLOW};
use pyshm_core::decide::view::Follow;
use pyshm_core::path::argument::PathArg;
use pyshm_core::path::originals::{EmptyPath, original};

/// The path argument of inotify_add_watch.
fn watched(path: *const c_char, mask: u32) -> PathArg {
    PathArg::at(AT_FDCWD, path, Follow::unless(mask & libc::IN_DONT_FOLLOW != 0))
}

/// The path argument of fanotify_mark, and the meaning of an empty path. A null path means the descriptor.
fn marked(dirfd: c_int, path: *const c_char, flags: c_uint) -> (PathArg, EmptyPath) {
    let follow = Follow::unless(flags & libc::FAN_MARK_DONT_FOLLOW != 0);
    let empty = if path.is_null() { EmptyPath::Descriptor } else { EmptyPath::Refused };
    (PathArg::at(dirfd, path, follow), empty)
}

/// The path argument of name_to_handle_at, which follows a link only with AT_SYMLINK_FOLLOW.
fn handled(dirfd: c_int, path: *const c_char, flags: c_int) -> (PathArg, EmptyPath) {
    let follow = Follow::unless(flags & AT_SYMLINK_FOLLOW == 0);
    (PathArg::at(dirfd, path, follow), EmptyPath::by_flags(flags))
}

/// [`original`] with its first two arguments as a pair.
///
/// # Safety
/// As [`original`].
unsafe fn original_of(
    (arg, empty): (PathArg, EmptyPath),
    real: impl FnOnce(c_int, *const c_char) -> c_int,
) -> c_int {
    // SAFETY: the caller guarantees what `original` asks for.
    unsafe { original(arg, empty, real) }
}

hooks! {
    fn inotify_add_watch(queue: c_int, path: *const c_char, mask: u32) -> c_int
        = |real| original(watched(path, mask), EmptyPath::Refused, |_, p| real(queue, p, mask));
    fn fanotify_mark(queue: c_int, flags: c_uint, mask: u64, dirfd: c_int, path: *const c_char) -> c_int
        = |real| original_of(marked(dirfd, path, flags), |d, p| real(queue, flags, mask, d, p));
    fn name_to_handle_at(dirfd: c_int, path: *const c_char, handle: *mut c_void, mount: *mut c_int, flags: c_int) -> c_int
        = |real| original_of(handled(dirfd, path, flags), |d, p| real(d, p, handle, mount, flags));
}
