//! Recognises names that lead through a descriptor: `/proc/self/fd/3`, `/dev/fd/3/name`, `/dev/stdin`, in every
//! spelling without `..`.
//!
//! If the shim redirected the descriptor, the kernel would follow such a name into the stage, and a change to the
//! staged file would never reach the original. So the shim replaces the name by the path of the original that the
//! descriptor stands for. If the program itself opened the file by the staged name, the shim does not translate the
//! descriptor.

use core::ffi::c_int;

use crate::base::scratch::PATH_MAX;
use crate::base::sys;
use crate::base::text::{decimal, join, put, until};
use crate::decide::view::Follow;
use crate::stage::descriptor::{REDIRECTED, fd_target, is_redirected};
use crate::stage::mapped::Stage;

/// A name that leads through a descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// The rest of the name: empty, or a slash and more.
    pub rest: &'a [u8],
    /// The process's number in decimal; `None` means this process.
    pid: Option<&'a [u8]>,
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
    if may_be(path) { take(path) } else { None }
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
            ((!own).then_some(process), number, rest)
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
    fn flags_of(&self, pid: &[u8]) -> Option<c_int> {
        let mut name = [0u8; 64];
        let fd = u32::try_from(self.fd).ok()?;
        join(&mut name, &[b"/proc/", pid, b"/fdinfo/", decimal(fd, &mut [0; 10])])?;
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
    pub fn original(&self, stage: &Stage, buf: &mut [u8; PATH_MAX]) -> Option<(usize, usize)> {
        if !self.is_redirected() {
            return None;
        }
        let n = self.target(buf)?;
        stage.original_range(buf.get(..n)?)
    }

    /// Writes into `buf` the path to which the kernel resolves the whole name. `None` if the call acts on the link
    /// itself.
    pub fn path<'b>(&self, follow: Follow, buf: &'b mut [u8; PATH_MAX]) -> Option<&'b [u8]> {
        if self.rest.is_empty() && !follow.is_yes() {
            return None;
        }
        let n = self.target(buf)?;
        let end = put(buf, n, self.rest)?;
        buf.get(..end)
    }

    /// Writes the descriptor's path into `buf` and returns the path's length in bytes.
    fn target(&self, buf: &mut [u8; PATH_MAX]) -> Option<usize> {
        if self.pid.is_none() {
            return Some(fd_target(self.fd, buf)?.len());
        }
        let fd = u32::try_from(self.fd).ok()?;
        let mut name = [0u8; 64];
        join(&mut name, &[b"/proc/", self.pid?, b"/fd/", decimal(fd, &mut [0; 10])])?;
        let name = core::ffi::CStr::from_bytes_until_nul(&name).ok()?;
        // SAFETY: a `CStr` is a C string.
        unsafe { sys::readlinkat(libc::AT_FDCWD, name.as_ptr(), &mut buf[..]) }.ok()
    }
}
