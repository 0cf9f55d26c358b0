//! Hooks the calls that ask the file system of an open file what only the original's can do or say: make changes
//! durable, and find holes. They are made by a descriptor of the original that lives only for the call, so that the
//! program's own keeps its offset and its duplicates.
//!
//! A program that renames a file makes the rename durable by a descriptor of the directory, which it may have opened
//! before. In the same way, it may write a file by one descriptor and make the data durable by another.

use core::ffi::{c_int, c_uint};

use libc::off_t;
use pyshm_core::base::sys;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::swap_fd::{discard, open_original};
use pyshm_format::{Entry, Kind};

/// Calls `real` with a descriptor of the original if `fd` is redirected and `concerns` says so, else with `fd`.
#[inline(never)]
fn on_original<R>(
    fd: c_int,
    concerns: impl FnOnce(&Entry<'static>) -> bool,
    real: impl Fn(c_int) -> R,
) -> R {
    let before = sys::errno();
    let original = stage().and_then(|stage| {
        let e = stage.entry_of_fd(fd).filter(concerns)?;
        open_original(stage, &e, libc::O_RDONLY | libc::O_CLOEXEC).ok()?
    });
    sys::set_errno(before);
    let Some(original) = original else { return real(fd) };
    let done = real(original);
    let errno = sys::errno();
    discard(original);
    sys::set_errno(errno);
    done
}

/// Whether a file may have holes. Its staged copy has none.
fn is_sparse(e: &Entry<'static>) -> bool {
    let st = e.stat();
    e.kind() == Kind::File && st.blocks.saturating_mul(512) < st.size
}

/// lseek by `real` for SEEK_DATA and SEEK_HOLE. `real` gets a descriptor, an offset and where it counts from.
#[inline(never)]
fn seek_hole(
    fd: c_int,
    offset: off_t,
    whence: c_int,
    real: impl Fn(c_int, off_t, c_int) -> off_t,
) -> off_t {
    let place = on_original(fd, is_sparse, |fd| real(fd, offset, whence));
    if place < 0 { place } else { real(fd, place, libc::SEEK_SET) }
}

hooks! {
    fn fsync, fdatasync, syncfs(fd: c_int) -> c_int = |real| on_original(fd, |_| true, real);
    fn sync_file_range(fd: c_int, offset: off_t, len: off_t, flags: c_uint) -> c_int
        = |real| on_original(fd, |_| true, |fd| real(fd, offset, len, flags));
    fn lseek, lseek64(fd: c_int, offset: off_t, whence: c_int) -> off_t = |real| {
        if matches!(whence, libc::SEEK_DATA | libc::SEEK_HOLE) {
            seek_hole(fd, offset, whence, real)
        } else {
            real(fd, offset, whence)
        }
    };
}
