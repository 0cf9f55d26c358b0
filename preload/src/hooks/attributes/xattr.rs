//! Answers reads of extended attributes with the values that the bundle recorded, so that `ls -l` makes no operation on
//! the shared file system. Long values, and names that only the file system knows, are not recorded and are read from
//! the original.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;

use libc::{size_t, ssize_t};
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys::{self, Ids};
use pyshm_core::decide::view::Want;
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::is_redirected;
use pyshm_core::stage::mapped::Stage;
use pyshm_core::stage::permission::check;
use pyshm_format::Entry;
use pyshm_format::state::Mark;
use pyshm_format::xattr::Told;

/// Longest name of an attribute, in bytes.
const NAME_MAX: usize = 255;

/// The caller's buffer for the result.
#[derive(Clone, Copy)]
struct To {
    at: *mut c_void,
    size: size_t,
}

impl To {
    /// Writes the result as the kernel does and returns the result's length in bytes, or -1 with errno set. A buffer
    /// size of 0 asks only for the length.
    ///
    /// # Safety
    /// `at` must be null, another address in the first page, a kernel address, or have room for `size` bytes.
    unsafe fn put(self, bytes: &[u8]) -> ssize_t {
        if self.size != 0 && bytes.len() > self.size {
            return sys::fail(libc::ERANGE) as ssize_t;
        }
        if self.size != 0 && !bytes.is_empty() {
            if (self.at as usize) < 4096 || (self.at as isize) < 0 {
                return sys::fail(libc::EFAULT) as ssize_t;
            }
            // SAFETY: the caller guarantees room, and the index does not overlap the program's memory.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.cast(), bytes.len()) };
        }
        bytes.len() as ssize_t
    }
}

/// The name of an attribute. `None` for a name that the kernel refuses. Such a call passes, because it depends on the
/// kernel's version whether the kernel reads the path first.
///
/// # Safety
/// `name` as in [`bytes`].
unsafe fn usable<'a>(name: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller guarantees what `bytes` asks for.
    unsafe { bytes(name) }.filter(|name| !name.is_empty() && name.len() <= NAME_MAX)
}

/// The recorded answer for an entry's attribute `name`, or for the list of names.
fn recorded_answer(e: &Entry<'static>, name: Option<&[u8]>) -> Told<'static> {
    e.xattrs().map_or(Told::Ask, |known| match name {
        // Reading these attributes needs permission to read the file, and a program may have given up that permission.
        Some(name)
            if name.starts_with(b"user.") && check(e, libc::R_OK, Ids::Effective).is_err() =>
        {
            Told::Ask
        }
        Some(name) => known.get(name),
        None => known.list(),
    })
}

/// Reads the attribute `name` of a path, or the list of names if `name` is `None`.
///
/// # Safety
/// `arg.path` and `to` as the real function requires.
unsafe fn by_path(
    arg: PathArg,
    name: Option<&[u8]>,
    to: To,
    real: impl Fn(*const c_char) -> ssize_t,
) -> ssize_t {
    // SAFETY: the caller guarantees the pointers.
    unsafe {
        read(arg, Want::Attributes, |answer| match answer {
            Answer::Pass(_, path) => real(path),
            Answer::Absent(e) => sys::fail(e) as ssize_t,
            Answer::Redirect(e) => match recorded_answer(&e, name) {
                Told::Bytes(b) => to.put(b),
                Told::Errno(e) => sys::fail(e) as ssize_t,
                Told::Ask => real(e.path().as_ptr().cast()),
            },
        })
    }
}

/// Reads the attribute `name` of a path. Calls `real` if the kernel would refuse the name.
///
/// # Safety
/// All pointers as the real function requires.
unsafe fn named_by_path(
    arg: PathArg,
    name: *const c_char,
    to: To,
    real: impl Fn(*const c_char) -> ssize_t,
) -> ssize_t {
    // SAFETY: the caller guarantees the pointers.
    unsafe {
        match usable(name) {
            Some(name) => by_path(arg, Some(name), to, real),
            None => real(arg.path),
        }
    }
}

/// Reads the attribute `name` of a descriptor, or the list of names if `name` is `None`. `original` reads the attribute
/// or the list by the original's path.
///
/// # Safety
/// `to` as the real function requires.
unsafe fn by_fd(
    fd: c_int,
    name: Option<&[u8]>,
    to: To,
    original: impl Fn(*const c_char) -> ssize_t,
    real: impl Fn() -> ssize_t,
) -> ssize_t {
    let Some(stage) = stage() else { return real() };
    if sys::fstat(fd).is_ok_and(|st| st.st_dev == stage.dev) && is_redirected(fd) {
        // SAFETY: the caller guarantees `to`.
        unsafe { read_staged(stage, fd, name, to, &original) }.unwrap_or_else(real)
    } else {
        real()
    }
}

/// Reads the attribute `name` of a descriptor. Calls `real` if the kernel would refuse the name.
///
/// # Safety
/// All pointers as the real function requires.
unsafe fn named_by_fd(
    fd: c_int,
    name: *const c_char,
    to: To,
    original: impl Fn(*const c_char) -> ssize_t,
    real: impl Fn() -> ssize_t,
) -> ssize_t {
    // SAFETY: the caller guarantees the pointers.
    unsafe {
        match usable(name) {
            Some(name) => by_fd(fd, Some(name), to, original, real),
            None => real(),
        }
    }
}

/// # Safety
/// `to` as the real function requires.
#[inline(never)]
unsafe fn read_staged(
    stage: &Stage,
    fd: c_int,
    name: Option<&[u8]>,
    to: To,
    original: &dyn Fn(*const c_char) -> ssize_t,
) -> Option<ssize_t> {
    let mut buf = [0; PATH_MAX];
    let path = stage.c_path_of_fd(fd, &mut buf)?;
    let known = stage.index().lookup(path.to_bytes());
    let known = known.filter(|e| !stage.view.diverged.has(Mark::Path, e.hash()));
    Some(match known.map_or(Told::Ask, |e| recorded_answer(&e, name)) {
        // SAFETY: the caller guarantees `to`.
        Told::Bytes(b) => unsafe { to.put(b) },
        Told::Errno(e) => sys::fail(e) as ssize_t,
        Told::Ask => original(path.as_ptr()),
    })
}

hooks! {
    fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t
        = |real| named_by_path(PathArg::followed(path), name, To { at: value, size }, |p| real(p, name, value, size));
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t
        = |real| named_by_path(PathArg::unfollowed(path), name, To { at: value, size }, |p| real(p, name, value, size));
    fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t
        = |real| named_by_fd(fd, name, To { at: value, size }, |p| getxattr::real()(p, name, value, size),
            || real(fd, name, value, size));
    fn listxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t
        = |real| by_path(PathArg::followed(path), None, To { at: list.cast(), size }, |p| real(p, list, size));
    fn llistxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t
        = |real| by_path(PathArg::unfollowed(path), None, To { at: list.cast(), size }, |p| real(p, list, size));
    fn flistxattr(fd: c_int, list: *mut c_char, size: size_t) -> ssize_t
        = |real| by_fd(fd, None, To { at: list.cast(), size }, |p| listxattr::real()(p, list, size),
            || real(fd, list, size));
}
