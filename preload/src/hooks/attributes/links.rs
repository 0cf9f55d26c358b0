//! readlink and realpath: original targets and original names.

use core::ffi::{c_char, c_int};
use core::ptr;
use core::slice;

use libc::{AT_FDCWD, size_t, ssize_t};
use pyshm_format::Kind;

use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::fast_path::passes;
use pyshm_core::path::fd_link;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::absolute;
use pyshm_core::path::resolve::ask;
use pyshm_core::path::resolve::bytes;
use pyshm_core::stage::current::stage;

/// Replaces a staged path in `buf[..n]`, as `/proc/self/exe` or a descriptor's link gives it, by the original.
///
/// # Safety
/// `buf[..n]` must be writable.
unsafe fn translate(buf: *mut c_char, n: usize) -> usize {
    let Some(stage) = stage() else { return n };
    // SAFETY: by the caller's word.
    let text = unsafe { slice::from_raw_parts(buf.cast::<u8>(), n) };
    let Some(original) = stage.original(text) else { return n };
    let start = n - original.len();
    let len = stage.kept(original).len();
    // SAFETY: both within `buf[..n]`.
    unsafe { ptr::copy(buf.add(start), buf, len) };
    len
}

/// Whether a link names what the kernel keeps of a process, where the staged name of a redirected file shows through.
///
/// # Safety
/// `path` as in [`bytes`].
#[inline(never)]
unsafe fn is_kernel_link(dirfd: c_int, path: *const c_char) -> bool {
    // SAFETY: by the caller's word.
    let Some(path) = (unsafe { bytes(path) }) else { return false };
    let mut buf = [0; PATH_MAX];
    let path = match path.first() {
        Some(b'/') => path,
        _ => match stage().and_then(|stage| absolute(stage, dirfd, path, false, &mut buf)) {
            Some(abs) => abs.path,
            None => return false,
        },
    };
    match fd_link::parse(path) {
        // Not one that the program opened by its staged name.
        Some(link) => link.is_redirected(),
        None => path.starts_with(b"/proc/") || path.starts_with(b"//") || path.starts_with(b"/./"),
    }
}

/// Whether a link's text may be a staged name, or the beginning of one.
fn may_be_staged(text: &[u8]) -> bool {
    stage().is_some_and(|stage| {
        let n = text.len().min(stage.dir().len());
        text.get(..n) == stage.dir().get(..n)
    })
}

/// As `readlink`, where what the kernel gave fills `buf[..size]` and may have more: a staged name is longer than the
/// original one, for which there may be room. `None` to leave it as it is.
///
/// # Safety
/// As readlinkat.
#[inline(never)]
unsafe fn whole(
    dirfd: c_int,
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
) -> Option<ssize_t> {
    let mut name = [0u8; PATH_MAX];
    // SAFETY: by the caller's word.
    let n = unsafe { sys::readlinkat(dirfd, path, &mut name) }.ok()?;
    let (start, end) = stage()?.part_of(name.get(..n)?)?;
    let original = name.get(start..end)?;
    let len = original.len().min(size);
    // SAFETY: the kernel has just written as much there.
    unsafe { ptr::copy_nonoverlapping(original.as_ptr(), buf.cast(), len) };
    Some(len as ssize_t)
}

/// # Safety
/// As readlink.
#[inline]
unsafe fn readlink_at(
    dirfd: c_int,
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
    real: impl Fn(c_int, *const c_char) -> ssize_t,
) -> ssize_t {
    // SAFETY: by the caller's word.
    unsafe {
        match passes(path) {
            // Not one of the kernel's own links, which are below /proc and /dev.
            true => real(dirfd, path),
            false => staged(dirfd, path, buf, size, real),
        }
    }
}

/// What the real function has read, `n` bytes of `buf`, in the original's terms.
///
/// # Safety
/// As readlink.
#[inline(never)]
unsafe fn read(
    dirfd: c_int,
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
    n: ssize_t,
) -> ssize_t {
    // SAFETY: by the caller's word.
    unsafe {
        if n <= 0
            || !may_be_staged(slice::from_raw_parts(buf.cast(), n as usize))
            || !is_kernel_link(dirfd, path)
        {
            return n;
        }
        let len = match n as usize == size {
            true => whole(dirfd, path, buf, size).unwrap_or(n),
            false => translate(buf, n as usize) as ssize_t,
        };
        // Many programs clear the buffer before and put no NUL behind what they get.
        ptr::write_bytes(buf.offset(len), 0, (n - len) as usize);
        len
    }
}

/// # Safety
/// As readlink.
#[inline(never)]
unsafe fn staged(
    dirfd: c_int,
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
    real: impl Fn(c_int, *const c_char) -> ssize_t,
) -> ssize_t {
    // SAFETY: by the caller's word.
    unsafe {
        ask(dirfd, path, false, Want::Attributes, |answer| match answer {
            Answer::Pass(dirfd, path) => read(dirfd, path, buf, size, real(dirfd, path)),
            Answer::Absent(e) => sys::fail(e) as ssize_t,
            Answer::Redirect(e) if e.kind() != Kind::Symlink || (size as ssize_t) <= 0 => {
                sys::fail(libc::EINVAL) as ssize_t
            }
            Answer::Redirect(_) if buf.is_null() => sys::fail(libc::EFAULT) as ssize_t,
            Answer::Redirect(e) => {
                let n = e.target().len().min(size);
                ptr::copy_nonoverlapping(e.target().as_ptr(), buf.cast(), n);
                n as ssize_t
            }
        })
    }
}

/// # Safety
/// As realpath.
unsafe fn realpath_as(
    path: *const c_char,
    to: *mut c_char,
    real: impl Fn(*const c_char) -> *mut c_char,
) -> *mut c_char {
    // SAFETY: by the caller's word; a result of `real` is a C string in writable memory of the caller's.
    unsafe {
        ask(AT_FDCWD, path, true, Want::Attributes, |answer| match answer {
            Answer::Pass(_, path) => {
                let r = real(path);
                if !r.is_null()
                    && may_be_staged(core::ffi::CStr::from_ptr(r).to_bytes())
                    && is_kernel_link(AT_FDCWD, path)
                {
                    let n = translate(r, libc::strlen(r));
                    *r.add(n) = 0;
                }
                r
            }
            Answer::Absent(e) => {
                sys::set_errno(e);
                ptr::null_mut()
            }
            Answer::Redirect(e) => {
                let path = e.path();
                // realpath's contract: memory that the caller frees.
                let to = if to.is_null() { libc::malloc(path.len() + 1).cast() } else { to };
                if !to.is_null() {
                    ptr::copy_nonoverlapping(path.as_ptr(), to.cast(), path.len() + 1);
                }
                to
            }
        })
    }
}

hooks! {
    unsafe fn readlink(path: *const c_char, buf: *mut c_char, size: size_t) -> ssize_t => my_readlink {
        // SAFETY: the caller's own arguments.
        unsafe { readlink_at(AT_FDCWD, path, buf, size, move |_, p| real!(readlink)(p, buf, size)) }
    }
    unsafe fn readlinkat(dirfd: c_int, path: *const c_char, buf: *mut c_char, size: size_t) -> ssize_t => my_readlinkat {
        // SAFETY: the caller's own arguments.
        unsafe { readlink_at(dirfd, path, buf, size, move |d, p| real!(readlinkat)(d, p, buf, size)) }
    }
    unsafe fn __readlink_chk(path: *const c_char, buf: *mut c_char, size: size_t, room: size_t) -> ssize_t => alt_readlink_chk {
        // The real function ends the program when `size` exceeds the buffer; it must see such a call.
        if size > room {
            // SAFETY: the caller's own arguments.
            return unsafe { real!(__readlink_chk)(path, buf, size, room) };
        }
        // SAFETY: the caller's own arguments.
        unsafe { readlink_at(AT_FDCWD, path, buf, size, move |_, p| real!(readlink)(p, buf, size)) }
    }
    unsafe fn __readlinkat_chk(dirfd: c_int, path: *const c_char, buf: *mut c_char, size: size_t, room: size_t) -> ssize_t => alt_readlinkat_chk {
        if size > room {
            // SAFETY: as above.
            return unsafe { real!(__readlinkat_chk)(dirfd, path, buf, size, room) };
        }
        // SAFETY: the caller's own arguments.
        unsafe { readlink_at(dirfd, path, buf, size, move |d, p| real!(readlinkat)(d, p, buf, size)) }
    }
    unsafe fn realpath(path: *const c_char, to: *mut c_char) -> *mut c_char => my_realpath {
        // SAFETY: the caller's own arguments.
        unsafe { realpath_as(path, to, |p| real!(realpath)(p, to)) }
    }
    unsafe fn __realpath_chk(path: *const c_char, to: *mut c_char, room: size_t) -> *mut c_char => alt_realpath_chk {
        if room < pyshm_core::base::scratch::PATH_MAX {
            // SAFETY: the caller's own arguments; the real function ends the program.
            return unsafe { real!(__realpath_chk)(path, to, room) };
        }
        // SAFETY: the caller's own arguments.
        unsafe { realpath_as(path, to, |p| real!(realpath)(p, to)) }
    }
    unsafe fn canonicalize_file_name(path: *const c_char) -> *mut c_char => my_canonicalize_file_name {
        // SAFETY: the caller's own arguments.
        unsafe { realpath_as(path, ptr::null_mut(), |p| real!(canonicalize_file_name)(p)) }
    }
}
