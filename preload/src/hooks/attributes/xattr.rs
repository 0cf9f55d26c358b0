//! Extended attributes, for reading: answered from what the bundle recorded, so that `ls -l` stays off the shared file
//! system. What was not recorded (long values, names that only the file system itself knows) is asked of the original.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;

use libc::{size_t, ssize_t};
use pyshm_format::Entry;
use pyshm_format::state::Mark;
use pyshm_format::xattr::Told;

use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::path::resolve::bytes;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::descriptor::redirected;
use pyshm_core::stage::mapped::Stage;
use pyshm_core::stage::permission::check;

/// The longest name that Linux takes.
const NAME_MAX: usize = 255;

/// Where the caller wants the result.
#[derive(Clone, Copy)]
struct To {
    at: *mut c_void,
    size: size_t,
}

impl To {
    /// Puts the result there as the kernel does: a size of 0 asks for the length.
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
            // SAFETY: by the caller's word, and the index is no memory of the program's.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.cast(), bytes.len()) };
        }
        bytes.len() as ssize_t
    }
}

/// A name that the kernel does not refuse before it looks at the path, or after: which it is depends on its version.
///
/// # Safety
/// `name` as in [`bytes`].
unsafe fn possible<'a>(name: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: by the caller's word.
    unsafe { bytes(name) }.filter(|name| !name.is_empty() && name.len() <= NAME_MAX)
}

/// What an entry says of the attribute `name`, or of the list of names.
fn told(e: &Entry<'static>, name: Option<&[u8]>) -> Told<'static> {
    e.xattrs().map_or(Told::Ask, |known| match name {
        // These take the right to read, which a program may have given up.
        Some(name) if name.starts_with(b"user.") && check(e, libc::R_OK, true).is_err() => {
            Told::Ask
        }
        Some(name) => known.get(name),
        None => known.list(),
    })
}

/// # Safety
/// `path` and `to` as the real function requires.
unsafe fn read(
    path: *const c_char,
    follow: bool,
    name: Option<&[u8]>,
    to: To,
    real: impl Fn(*const c_char) -> ssize_t,
) -> ssize_t {
    // SAFETY: by the caller's word.
    unsafe {
        ask(libc::AT_FDCWD, path, follow, Want::Attributes, |answer| match answer {
            Answer::Pass(_, path) => real(path),
            Answer::Absent(e) => sys::fail(e) as ssize_t,
            Answer::Redirect(e) => match told(&e, name) {
                Told::Bytes(b) => to.put(b),
                Told::Errno(e) => sys::fail(e) as ssize_t,
                Told::Ask => real(e.path().as_ptr().cast()),
            },
        })
    }
}

/// # Safety
/// `to` as the real function requires.
unsafe fn read_fd(
    fd: c_int,
    name: Option<&[u8]>,
    to: To,
    by_path: impl Fn(*const c_char) -> ssize_t,
    real: impl Fn() -> ssize_t,
) -> ssize_t {
    let Some(stage) = stage() else { return real() };
    if sys::fstat(fd).is_ok_and(|st| st.st_dev == stage.dev) && redirected(fd) {
        // SAFETY: by the caller's word.
        unsafe { read_staged(stage, fd, name, to, &by_path) }.unwrap_or_else(real)
    } else {
        real()
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
    by_path: &dyn Fn(*const c_char) -> ssize_t,
) -> Option<ssize_t> {
    let mut buf = [0; PATH_MAX];
    let path = stage.c_path_of_fd(fd, &mut buf)?;
    let known = stage.index().lookup(path.to_bytes());
    let known = known.filter(|e| !stage.view.diverged.has(Mark::Path, e.hash()));
    Some(match known.map_or(Told::Ask, |e| told(&e, name)) {
        // SAFETY: by the caller's word.
        Told::Bytes(b) => unsafe { to.put(b) },
        Told::Errno(e) => sys::fail(e) as ssize_t,
        Told::Ask => by_path(path.as_ptr()),
    })
}

hooks! {
    unsafe fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t => my_getxattr {
        let real = |p| {
            // SAFETY: the caller's own arguments, or the original's path.
            unsafe { real!(getxattr)(p, name, value, size) }
        };
        // SAFETY: the caller's own arguments.
        let Some(text) = (unsafe { possible(name) }) else { return real(path) };
        // SAFETY: the caller's own arguments.
        unsafe { read(path, true, Some(text), To { at: value, size }, real) }
    }
    unsafe fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t => my_lgetxattr {
        let real = |p| {
            // SAFETY: the caller's own arguments, or the original's path.
            unsafe { real!(lgetxattr)(p, name, value, size) }
        };
        // SAFETY: the caller's own arguments.
        let Some(text) = (unsafe { possible(name) }) else { return real(path) };
        // SAFETY: the caller's own arguments.
        unsafe { read(path, false, Some(text), To { at: value, size }, real) }
    }
    unsafe fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t => my_fgetxattr {
        let real = || {
            // SAFETY: the caller's own arguments.
            unsafe { real!(fgetxattr)(fd, name, value, size) }
        };
        // SAFETY: the caller's own arguments.
        let Some(text) = (unsafe { possible(name) }) else { return real() };
        let by_path = |p| {
            // SAFETY: the caller's own arguments and the original's path.
            unsafe { real!(getxattr)(p, name, value, size) }
        };
        // SAFETY: the caller's own arguments.
        unsafe { read_fd(fd, Some(text), To { at: value, size }, by_path, real) }
    }
    unsafe fn listxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t => my_listxattr {
        // SAFETY: the caller's own arguments.
        unsafe { read(path, true, None, To { at: list.cast(), size }, |p| real!(listxattr)(p, list, size)) }
    }
    unsafe fn llistxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t => my_llistxattr {
        // SAFETY: the caller's own arguments.
        unsafe { read(path, false, None, To { at: list.cast(), size }, |p| real!(llistxattr)(p, list, size)) }
    }
    unsafe fn flistxattr(fd: c_int, list: *mut c_char, size: size_t) -> ssize_t => my_flistxattr {
        // SAFETY: the caller's own arguments.
        unsafe {
            read_fd(fd, None, To { at: list.cast(), size }, |p| real!(listxattr)(p, list, size),
                || real!(flistxattr)(fd, list, size))
        }
    }
}
