//! Recognises names that lead through a descriptor: `/proc/self/fd/3`, `/dev/fd/3/name`, `/dev/stdin`, in any spelling.
//! The kernel is asked about those that take another way (`/proc/self/../self/fd/3`, `/proc/self/root/dev/fd/3`).
//!
//! If the shim redirected the descriptor, the kernel would follow such a name into the stage, and a change to the
//! staged file would never reach the original. So the shim replaces the name by the path of the original that the
//! descriptor stands for. If the program itself opened the file by the staged name, the shim does not translate the
//! descriptor.

use core::ffi::{c_char, c_int};

use pyshm_format::{Entry, Kind};

use crate::base::buffer::Buffer;
use crate::base::sys;
use crate::base::text::{decimal, join, put, until};
use crate::decide::view::Follow;
use crate::path::argument::bytes;
use crate::stage::current::stage;
use crate::stage::descriptor::{REDIRECTED, fd_target, is_redirected};
use crate::stage::mapped::Stage;
use crate::stage::own_fds::note_opened;
use crate::stage::swap_fd::swap_fd;

/// A name that leads through a descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// The rest of the name: empty, or a slash and more.
    pub rest: &'a [u8],
    /// The process by its number; `None` for this process, named `self`.
    pid: Option<u32>,
    fd: c_int,
}

/// Whether a path may lead through a descriptor. The first bytes of nearly all paths rule that out.
#[inline]
pub fn may_be(path: &[u8]) -> bool {
    match path {
        [b'/', b'p', b'r', b'o', b'c', b'/', ..] | [b'/', b'd', b'e', b'v', b'/', ..] => true,
        // Another spelling of such a path, like `//proc` or `/./dev`.
        [b'/', b'/' | b'.', ..] => true,
        _ => false,
    }
}

/// Splits a name that leads through a descriptor; `None` for any other path.
#[inline]
pub fn parse(path: &[u8]) -> Option<Link<'_>> {
    if may_be(path) {
        take(path).or_else(|| if goes_round(path) { by_kernel(path) } else { None })
    } else if path.first() == Some(&b'/') && path.windows(4).any(|w| w == b"/../") {
        by_kernel(path)
    } else {
        None
    }
}

/// [`parse`] for a path that may be relative to a directory of links to descriptors, which only the last name shows.
pub fn parse_at(dirfd: c_int, path: &[u8]) -> Option<Link<'_>> {
    if path.first() == Some(&b'/') {
        return parse(path);
    }
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    let number = !name.is_empty() && name.iter().all(u8::is_ascii_digit);
    if number { relative(dirfd, path) } else { None }
}

#[inline(never)]
fn relative(dirfd: c_int, path: &[u8]) -> Option<Link<'static>> {
    let mut buf = Buffer::zeroed();
    let len = match dirfd {
        libc::AT_FDCWD => sys::getcwd(&mut buf).ok()?,
        dirfd => fd_target(dirfd, &mut buf)?.len(),
    };
    let end = put(&mut buf, len, b"/").and_then(|len| put(&mut buf, len, path))?;
    let link = parse(buf.get(..end)?)?;
    link.rest.is_empty().then_some(Link { rest: b"", pid: link.pid, fd: link.fd })
}

/// The flags with which the kernel is to open a path, to keep the mark of a staged copy that it leads to through a descriptor.
/// Only the copy of a file that is gone is opened in this way; all other such paths were replaced before.
///
/// # Safety
/// `path` as in [`bytes`].
pub unsafe fn mark_of(dirfd: c_int, path: *const c_char) -> c_int {
    if !stage().is_some_and(|stage| stage.view.diverged.any()) {
        return 0;
    }
    // SAFETY: the caller guarantees what `bytes` asks for.
    let link = unsafe { bytes(path) }.and_then(|path| parse_at(dirfd, path));
    if link.is_some_and(|link| link.rest.is_empty() && link.is_redirected()) {
        note_opened();
        return REDIRECTED;
    }
    0
}

/// Whether a path below `/proc` or `/dev` leads back up, or to another root.
fn goes_round(path: &[u8]) -> bool {
    path.split(|&b| b == b'/').any(|name| matches!(name, b".." | b"root" | b"cwd"))
}

/// Splits a name that leads to the directory of a process's descriptors, or to one of the links in `/dev`, in a way that
/// only the kernel knows.
#[inline(never)]
fn by_kernel(path: &[u8]) -> Option<Link<'_>> {
    let mut buf = Buffer::zeroed();
    let mut end = 0;
    // The name before, which spares other paths the question.
    let mut last = &b""[..];
    let mut device = false;
    while end < path.len() {
        let start = end + path.get(end..)?.iter().position(|&b| b != b'/')?;
        let (name, rest) = until(path.get(start..)?, |&b| b == b'/');
        end = start + name.len();
        let number = last == b"fd" && name.iter().all(u8::is_ascii_digit);
        let standard = device && matches!(name, b"stdin" | b"stdout" | b"stderr");
        device |= name == b"dev";
        if name != b"." {
            last = name;
        }
        if !number && !standard {
            continue;
        }
        let Some(len) = directory(path.get(..start)?, &mut buf) else { continue };
        // The kernel's own spelling, with the name that stands behind it.
        let end = put(&mut buf, len, b"/").and_then(|len| put(&mut buf, len, name));
        let Some(link) = end.and_then(|end| take(buf.get(..end)?)) else { continue };
        if link.rest.is_empty() {
            return Some(Link { rest, pid: link.pid, fd: link.fd });
        }
    }
    None
}

/// Exchanges the descriptor through which a path leads into the stage for one of the original. Fails if it cannot be
/// exchanged, or is another process's: nothing is to be made or found in the stage.
pub fn take_original(path: &[u8]) -> Result<(), c_int> {
    if path.first() == Some(&b'/') {
        return parse(path).map_or(Ok(()), Link::take_original);
    }
    // A relative name may only lead through a descriptor from a directory of the kernel's.
    let number = |name: &[u8]| !name.is_empty() && name.iter().all(u8::is_ascii_digit);
    if path.split(|&b| b == b'/').any(number) { take_relative(path) } else { Ok(()) }
}

#[inline(never)]
fn take_relative(path: &[u8]) -> Result<(), c_int> {
    let mut buf = Buffer::zeroed();
    let Ok(len) = sys::getcwd(&mut buf) else { return Ok(()) };
    let end = put(&mut buf, len, b"/").and_then(|len| put(&mut buf, len, path));
    let link = end.and_then(|end| parse(buf.get(..end)?));
    link.map_or(Ok(()), Link::take_original)
}

/// Writes the kernel's name of a directory into `buf`; its length.
fn directory(path: &[u8], buf: &mut [u8]) -> Option<usize> {
    join(buf, &[path, b"\0"])?;
    // SAFETY: a C string.
    let fd = unsafe {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        sys::openat(libc::AT_FDCWD, buf.as_ptr().cast(), flags)
    }
    .ok()?;
    let len = fd_target(fd, buf).map(<[u8]>::len);
    sys::close(fd);
    len
}

/// The path without its leading slashes.
fn below_slashes(mut path: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] = path {
        path = rest;
    }
    path
}

/// Splits the first name off a path. Skips slashes and `.` before that name.
fn first(path: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = path;
    loop {
        let (name, after) = until(below_slashes(rest), |&b| b == b'/');
        if name != b"." {
            return (name, after);
        }
        rest = after;
    }
}

#[inline(never)]
fn take(path: &[u8]) -> Option<Link<'_>> {
    let (top, below) = first(path);
    let (directory, below) = first(below);
    let (pid, number, rest) = match (top, directory) {
        (b"dev", b"stdin") => (None, &b"0"[..], below),
        (b"dev", b"stdout") => (None, &b"1"[..], below),
        (b"dev", b"stderr") => (None, &b"2"[..], below),
        (b"dev", b"fd") => {
            let (number, rest) = first(below);
            (None, number, rest)
        }
        (b"proc", process) => {
            let own = matches!(process, b"self" | b"thread-self");
            if !own && (process.is_empty() || !process.iter().all(u8::is_ascii_digit)) {
                return None;
            }
            let (mut name, mut after) = first(below);
            if name == b"task" {
                // A thread shares the descriptors of its process.
                (name, after) = first(first(after).1);
            }
            if name != b"fd" {
                return None;
            }
            let (number, rest) = first(after);
            let process = || core::str::from_utf8(process).ok()?.parse().ok();
            (if own { None } else { Some(process()?) }, number, rest)
        }
        _ => return None,
    };
    if !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let fd = core::str::from_utf8(number).ok()?.parse().ok()?;
    Some(Link { rest, pid, fd })
}

impl Link<'_> {
    fn take_original(self) -> Result<(), c_int> {
        if !self.is_redirected() {
            return Ok(());
        }
        if self.pid.is_none_or(|pid| pid == sys::pid()) {
            let _ = swap_fd(self.fd);
        }
        if self.is_redirected() { Err(libc::ENOENT) } else { Ok(()) }
    }

    /// Whether the shim redirected the descriptor, in this process or another.
    pub fn is_redirected(&self) -> bool {
        match self.pid {
            None => is_redirected(self.fd),
            Some(pid) => self.flags_of(pid).is_some_and(|f| f & REDIRECTED == REDIRECTED),
        }
    }

    /// Reads the flags of another process's descriptor: `/proc/<pid>/fdinfo/<fd>` has a line `flags:` with an octal
    /// number.
    #[inline(never)]
    fn flags_of(&self, pid: u32) -> Option<c_int> {
        let mut name = [0u8; 64];
        let fd = u32::try_from(self.fd).ok()?;
        let (mut process, mut number) = ([0; 10], [0; 10]);
        let pid = decimal(pid, &mut process);
        join(&mut name, &[b"/proc/", pid, b"/fdinfo/", decimal(fd, &mut number)])?;
        let name = core::ffi::CStr::from_bytes_until_nul(&name).ok()?;
        let fd = sys::open(name, libc::O_RDONLY).ok()?;
        let mut text = [0u8; 128];
        let n = sys::read(fd, &mut text);
        sys::close(fd);
        let text = text.get(..n.ok()?)?;
        let line = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"flags:"))?;
        let digits = core::str::from_utf8(line.trim_ascii()).ok()?;
        c_int::from_str_radix(digits, 8).ok()
    }

    /// Writes into `buf` the original path that a redirected descriptor stands for. Returns where that path starts and
    /// ends in `buf`. `None` for any other descriptor.
    pub fn original(&self, stage: &Stage, buf: &mut [u8]) -> Option<(usize, usize)> {
        if !self.is_redirected() {
            return None;
        }
        let n = self.target(buf)?;
        stage.original_range(buf.get(..n)?)
    }

    /// The entry of a staged file whose path names another file now, or none: the staged copy is all that this name leads
    /// to. The copy need not have its name in the stage any more.
    pub fn lost_file(&self, stage: &Stage, buf: &mut [u8]) -> Option<Entry<'static>> {
        if !self.rest.is_empty() {
            return None;
        }
        let (start, end) = self.original(stage, buf)?;
        let e = stage.index().lookup(buf.get(start..end)?)?;
        (e.kind() == Kind::File && stage.is_gone(&e)).then_some(e)
    }

    /// Writes the path that the whole name leads to for the kernel into `buf`; `None` if the name itself is meant.
    pub fn path<'b>(&self, follow: Follow, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        if self.rest.is_empty() && !follow.is_yes() {
            return None;
        }
        let n = self.target(buf)?;
        let end = put(buf, n, self.rest)?;
        buf.get(..end)
    }

    /// Writes the descriptor's path into `buf` and returns the path's length in bytes.
    fn target(&self, buf: &mut [u8]) -> Option<usize> {
        if self.pid.is_none() {
            return Some(fd_target(self.fd, buf)?.len());
        }
        let fd = u32::try_from(self.fd).ok()?;
        let mut name = [0u8; 64];
        let (mut process, mut number) = ([0; 10], [0; 10]);
        let pid = decimal(self.pid?, &mut process);
        join(&mut name, &[b"/proc/", pid, b"/fd/", decimal(fd, &mut number)])?;
        let name = core::ffi::CStr::from_bytes_until_nul(&name).ok()?;
        // SAFETY: a `CStr` is a C string.
        unsafe { sys::readlinkat(libc::AT_FDCWD, name.as_ptr(), &mut buf[..]) }.ok()
    }
}
