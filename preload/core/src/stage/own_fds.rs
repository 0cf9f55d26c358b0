//! Lists the descriptors of this process, as the kernel shows them in `/proc`, and remembers that none of them is staged.
//!
//! Invariant: a process that has no staged descriptor is searched for them once, until it opens one.

use core::ffi::{CStr, c_int};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use libc::dirent64;

use crate::base::sys;
use crate::base::text::until;

/// How many descriptors are tried where `/proc` is missing.
const WITHOUT_PROC: c_int = 1024;

/// The process that is known to have no staged descriptor, in the low half, and the number of staged files that were
/// opened before, in the high half. The low half is 0 if nothing is known.
///
/// A process knows itself by its number, because a child has its parent's memory but not always its descriptors.
static WITHOUT: AtomicU64 = AtomicU64::new(0);
/// One opened file.
const OPENED: u64 = 1 << 32;

/// Notes that this process has opened a staged file.
#[inline]
pub fn note_opened() {
    let next = |known: u64| Some((known & !(OPENED - 1)).wrapping_add(OPENED));
    let _ = WITHOUT.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
}

/// A search for staged descriptors among those of this process. Holds what was known when it began.
pub struct Search(u64);

impl Search {
    /// Begins one; `None` if there are none.
    pub fn begin() -> Option<Self> {
        let known = WITHOUT.load(Ordering::Acquire);
        if known as u32 == sys::pid() { None } else { Some(Self(known)) }
    }

    /// Ends one that found none. What was opened meanwhile counts.
    pub fn found_none(self) {
        let without = self.0 & !(OPENED - 1) | u64::from(sys::pid());
        let _ = WITHOUT.compare_exchange(self.0, without, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The numbers of this process's descriptors, in any order.
///
/// Where `/proc` is missing, these are the first numbers, used or not.
pub struct OwnFds {
    listed: Numbers,
    /// The next number where `/proc` is missing.
    next: c_int,
}

impl OwnFds {
    /// Begins a list.
    #[inline(never)]
    pub fn list() -> Self {
        // Threads need not share their descriptors.
        Self { listed: Numbers::of(c"/proc/thread-self/fd"), next: 0 }
    }
}

impl Iterator for OwnFds {
    type Item = c_int;

    #[inline(never)]
    fn next(&mut self) -> Option<c_int> {
        if self.listed.is_missing() {
            self.next += 1;
            return (self.next <= WITHOUT_PROC).then_some(self.next - 1);
        }
        let listing = self.listed.dir;
        self.listed.find(|&fd| Some(fd) != listing)
    }
}

/// The numbers among the names in a directory of `/proc`; none if it cannot be opened.
pub struct Numbers {
    dir: Option<c_int>,
    buf: [u8; 512],
    at: usize,
    len: usize,
}

impl Numbers {
    /// Begins a list.
    pub fn of(dir: &CStr) -> Self {
        let dir = sys::open(dir, libc::O_RDONLY | libc::O_DIRECTORY).ok();
        Self { dir, buf: [0; 512], at: 0, len: 0 }
    }

    /// Whether the directory cannot be opened.
    pub fn is_missing(&self) -> bool {
        self.dir.is_none()
    }

    /// The next entry of the directory; `None` at its end.
    fn entry(&mut self, dir: c_int) -> Option<&[u8]> {
        if self.at >= self.len {
            self.len = sys::getdents(dir, &mut self.buf).ok().filter(|&n| n > 0)?;
            self.at = 0;
        }
        let rest = self.buf.get(self.at..self.len)?;
        let length_at = offset_of!(dirent64, d_reclen);
        let length = rest.get(length_at..length_at + 2)?;
        let entry = rest.get(..usize::from(u16::from_ne_bytes(length.try_into().ok()?)).max(1))?;
        self.at += entry.len();
        Some(until(entry.get(offset_of!(dirent64, d_name)..)?, |&b| b == 0).0)
    }
}

impl Iterator for Numbers {
    type Item = c_int;

    fn next(&mut self) -> Option<c_int> {
        let dir = self.dir?;
        loop {
            let name = core::str::from_utf8(self.entry(dir)?).unwrap_or_default();
            // `.` and `..` are no numbers.
            if let Ok(number) = name.parse() {
                return Some(number);
            }
        }
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        if let Some(dir) = self.dir {
            sys::close(dir);
        }
    }
}
