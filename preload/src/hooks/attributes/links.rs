//! Makes readlink give original targets, and realpath original paths.

use core::ffi::{CStr, c_char, c_int};
use core::ptr;
use core::slice;

use libc::{AT_FDCWD, size_t, ssize_t};
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::{Follow, Want};
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::fast_path::{Look, look};
use pyshm_core::path::fd_link;
use pyshm_core::path::reads::{Answer, read, read_after};
use pyshm_core::path::resolve::absolute;
use pyshm_core::stage::current::stage;
use pyshm_format::Kind;

/// Replaces a staged path in `buf[..n]` by the original path and returns the original path's length in bytes.
/// `/proc/self/exe` and the links of descriptors give staged paths.
///
/// # Safety
/// `buf[..n]` must be writable.
unsafe fn translate(buf: *mut c_char, n: usize) -> usize {
    let Some(stage) = stage() else { return n };
    // SAFETY: the caller guarantees `n` bytes.
    let text = unsafe { slice::from_raw_parts(buf.cast::<u8>(), n) };
    let Some(original) = stage.original(text) else { return n };
    let start = n - original.len();
    let len = stage.without_deleted(original).len();
    // SAFETY: source and destination lie within `buf[..n]`.
    unsafe { ptr::copy(buf.add(start), buf, len) };
    len
}

/// Whether a path is one of the kernel's links to a process's files, which show the staged path of a redirected file.
///
/// # Safety
/// `path` as in [`bytes`].
#[inline(never)]
unsafe fn is_kernel_link(dirfd: c_int, path: *const c_char) -> bool {
    // SAFETY: the caller guarantees what `bytes` asks for.
    let Some(path) = (unsafe { bytes(path) }) else { return false };
    let mut buf = [0; PATH_MAX];
    let path = match path.first() {
        Some(b'/') => path,
        _ => match stage().and_then(|stage| absolute(stage, dirfd, path, Follow::No, &mut buf)) {
            Some(abs) => abs.path,
            None => return false,
        },
    };
    match fd_link::parse(path) {
        // If the program opened the file by its staged path, the link must show that path.
        Some(link) => link.is_redirected(),
        None => path.starts_with(b"/proc/") || path.starts_with(b"//") || path.starts_with(b"/./"),
    }
}

/// Whether a link's text may be a staged path or the beginning of one.
fn may_be_staged(text: &[u8]) -> bool {
    stage().is_some_and(|stage| {
        let n = text.len().min(stage.dir().len());
        text.get(..n) == stage.dir().get(..n)
    })
}

/// Reads a link a second time. The link's text has filled `buf[..size]`, so the text may be cut off. If the whole text
/// is a staged path, writes the original path, which is shorter, and returns the original path's length in bytes.
/// `None` if the whole text is no staged path.
///
/// # Safety
/// As readlinkat.
#[inline(never)]
unsafe fn read_whole(
    dirfd: c_int,
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
) -> Option<ssize_t> {
    let mut name = [0u8; PATH_MAX];
    // SAFETY: the caller guarantees the path.
    let n = unsafe { sys::readlinkat(dirfd, path, &mut name) }.ok()?;
    let (start, end) = stage()?.original_range(name.get(..n)?)?;
    let original = name.get(start..end)?;
    let len = original.len().min(size);
    // SAFETY: the kernel has just written `size` bytes there.
    unsafe { ptr::copy_nonoverlapping(original.as_ptr(), buf.cast(), len) };
    Some(len as ssize_t)
}

/// The hook of readlinkat. `real` is called if the path passes.
///
/// # Safety
/// As readlinkat.
#[inline]
unsafe fn readlink_at(
    dirfd: c_int,
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
    real: impl Fn(c_int, *const c_char) -> ssize_t,
) -> ssize_t {
    // SAFETY: the caller keeps the contract of readlinkat.
    unsafe {
        match look(path) {
            // The kernel's own links lie below /proc and /dev, which `look` never says are outside.
            Look::Outside => real(dirfd, path),
            seen => staged(seen, PathArg::at(dirfd, path, Follow::No), buf, size, real),
        }
    }
}

/// # Safety
/// As readlinkat, and `seen` as in [`read_after`].
#[inline(never)]
unsafe fn staged(
    seen: Look,
    arg: PathArg,
    buf: *mut c_char,
    size: size_t,
    real: impl Fn(c_int, *const c_char) -> ssize_t,
) -> ssize_t {
    // SAFETY: the caller keeps the contract of readlinkat.
    unsafe {
        read_after(seen, arg, Want::Attributes, |answer| match answer {
            Answer::Pass(dirfd, path) => translated(dirfd, path, buf, size, real(dirfd, path)),
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

/// Translates the result of the real function, `n` bytes of `buf`, into an original path. Returns the new length, or
/// `n` if there is nothing to translate.
///
/// # Safety
/// As readlink.
#[inline(never)]
unsafe fn translated(
    dirfd: c_int,
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
    n: ssize_t,
) -> ssize_t {
    // SAFETY: the caller keeps the contract of readlink, and the real function has written `n` bytes.
    unsafe {
        if n <= 0
            || !may_be_staged(slice::from_raw_parts(buf.cast(), n as usize))
            || !is_kernel_link(dirfd, path)
        {
            return n;
        }
        let len = if n as usize == size {
            read_whole(dirfd, path, buf, size).unwrap_or(n)
        } else {
            translate(buf, n as usize) as ssize_t
        };
        // Many programs clear the buffer before the call and rely on a NUL behind the text.
        ptr::write_bytes(buf.offset(len), 0, (n - len) as usize);
        len
    }
}

/// The hook of realpath. `real` is called if the path passes.
///
/// # Safety
/// As realpath.
unsafe fn realpath_as(
    path: *const c_char,
    to: *mut c_char,
    real: impl Fn(*const c_char) -> *mut c_char,
) -> *mut c_char {
    // SAFETY: the caller keeps the contract of realpath. The result of `real` is a C string in memory of the caller.
    unsafe {
        read(PathArg::followed(path), Want::Attributes, |answer| match answer {
            Answer::Pass(_, path) => {
                let r = real(path);
                if !r.is_null()
                    && may_be_staged(CStr::from_ptr(r).to_bytes())
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
                // By the contract of realpath, the caller frees this memory.
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
    fn readlink(path: *const c_char, buf: *mut c_char, size: size_t) -> ssize_t
        = |real| readlink_at(AT_FDCWD, path, buf, size, |_, p| real(p, buf, size));
    fn readlinkat(dirfd: c_int, path: *const c_char, buf: *mut c_char, size: size_t) -> ssize_t
        = |real| readlink_at(dirfd, path, buf, size, |d, p| real(d, p, buf, size));
    // A fortified function ends the program if the buffer is too small, so a call with such a buffer must reach that
    // function.
    fn __readlink_chk(path: *const c_char, buf: *mut c_char, size: size_t, room: size_t) -> ssize_t
        = |real| if size > room { real(path, buf, size, room) } else { readlink::hook(path, buf, size) };
    fn __readlinkat_chk(dirfd: c_int, path: *const c_char, buf: *mut c_char, size: size_t, room: size_t) -> ssize_t
        = |real| if size > room { real(dirfd, path, buf, size, room) } else { readlinkat::hook(dirfd, path, buf, size) };
    fn realpath(path: *const c_char, to: *mut c_char) -> *mut c_char
        = |real| realpath_as(path, to, |p| real(p, to));
    fn __realpath_chk(path: *const c_char, to: *mut c_char, room: size_t) -> *mut c_char
        = |real| if room < PATH_MAX { real(path, to, room) } else { realpath::hook(path, to) };
    fn canonicalize_file_name(path: *const c_char) -> *mut c_char
        = |real| realpath_as(path, ptr::null_mut(), real);
}
