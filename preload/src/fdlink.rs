//! Names that lead through a descriptor: `/proc/self/fd/3`, `/dev/fd/3/name`, `/dev/stdin`.
//!
//! The kernel follows one into the stage where the shim redirected the descriptor, and what is made or changed there
//! would never reach the original. So such a name means the original that the descriptor stands for; a descriptor that
//! the program opened by its staged name is not concerned.

use core::ffi::c_int;

use crate::route::PATH_MAX;
use crate::stage::{REDIRECTED, Stage, fd_link, redirected};
use crate::sys;
use crate::text::{join, put};

/// A name that leads through a descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// The descriptor's own name, without what follows it.
    name: &'a [u8],
    /// What follows: nothing, or a slash and more.
    pub rest: &'a [u8],
    /// The process, where it is not this one by its very name.
    pid: Option<&'a [u8]>,
    fd: c_int,
}

/// Takes such a name apart; nearly all paths are none by their first bytes.
#[inline]
pub fn parse(path: &[u8]) -> Option<Link<'_>> {
    match path {
        [b'/', b'p', b'r', b'o', b'c', b'/', ..] | [b'/', b'd', b'e', b'v', b'/', ..] => take(path),
        _ => None,
    }
}

#[inline(never)]
fn take(path: &[u8]) -> Option<Link<'_>> {
    const STANDARD: [&[u8]; 3] = [b"/dev/stdin", b"/dev/stdout", b"/dev/stderr"];
    let whole = |rest: &[u8]| matches!(rest.first(), None | Some(b'/'));
    for (fd, name) in (0..).zip(STANDARD) {
        if let Some(rest) = path.strip_prefix(name).filter(|rest| whole(rest)) {
            return Some(Link { name, rest, pid: None, fd });
        }
    }
    let (pid, number) = match path.strip_prefix(b"/dev/fd/") {
        Some(number) => (None, number),
        None => {
            let below = path.strip_prefix(b"/proc/")?;
            let slash = below.iter().position(|&b| b == b'/')?;
            let (process, below) = below.split_at_checked(slash)?;
            let number = below.strip_prefix(b"/fd/")?;
            let own = matches!(process, b"self" | b"thread-self");
            if !own && !process.iter().all(u8::is_ascii_digit) {
                return None;
            }
            ((!own).then_some(process), number)
        }
    };
    let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = number.split_at_checked(digits)?;
    let fd = core::str::from_utf8(number).ok()?.parse().ok()?;
    let name = path.get(..path.len() - rest.len())?;
    whole(rest).then_some(Link { name, rest, pid, fd })
}

impl Link<'_> {
    /// Whether the shim redirected the descriptor.
    pub fn is_redirected(&self) -> bool {
        match self.pid {
            None => redirected(self.fd),
            Some(pid) => self.flags_of(pid).is_some_and(|f| f & REDIRECTED == REDIRECTED),
        }
    }

    /// The flags of another process's descriptor: `/proc/<pid>/fdinfo/<fd>` has a line `flags:` with an octal number.
    #[inline(never)]
    fn flags_of(&self, pid: &[u8]) -> Option<c_int> {
        let mut name = [0u8; 64];
        let number = self.name.rsplit(|&b| b == b'/').next()?;
        join(&mut name, &[b"/proc/", pid, b"/fdinfo/", number])?;
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

    /// Puts the original that the descriptor stands for into `buf`: where in it the name starts and ends. `None` for a
    /// descriptor that was not redirected.
    pub fn original(&self, stage: &Stage, buf: &mut [u8; PATH_MAX]) -> Option<(usize, usize)> {
        if !self.is_redirected() {
            return None;
        }
        let n = self.target(buf)?;
        stage.part_of(buf.get(..n)?)
    }

    /// What the whole name leads to as the kernel sees it. `follow`: whether it does where nothing follows.
    pub fn path<'b>(&self, follow: bool, buf: &'b mut [u8; PATH_MAX]) -> Option<&'b [u8]> {
        if self.rest.is_empty() && !follow {
            return None;
        }
        let n = self.target(buf)?;
        let end = put(buf, n, self.rest)?;
        buf.get(..end)
    }

    /// Puts the descriptor's path into `buf`; its length.
    fn target(&self, buf: &mut [u8; PATH_MAX]) -> Option<usize> {
        if self.pid.is_none() {
            return Some(fd_link(self.fd, buf)?.len());
        }
        let mut name = [0u8; 64];
        put(&mut name, 0, self.name)?;
        let name = core::ffi::CStr::from_bytes_until_nul(&name).ok()?;
        // SAFETY: a `CStr` is a C string.
        unsafe { sys::readlinkat(libc::AT_FDCWD, name.as_ptr(), &mut buf[..]) }.ok()
    }
}
