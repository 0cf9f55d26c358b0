//! The locks of an open file, which an exchange of its descriptors takes to the original.
//!
//! The kernel lists them in `/proc/self/fdinfo`, a line for each:
//! `lock:\t1: FLOCK  ADVISORY  WRITE 1234 00:2b:567 0 EOF`, with the range's first and last byte at the end.

use core::ffi::{CStr, c_int};
use core::mem::zeroed;

use libc::{F_RDLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH};

use crate::base::sys;
use crate::base::text::{decimal, join};

/// Takes the locks of the open file `from`, those of flock and of F_OFD_SETLK, on `to` too. Fails if somebody else's are in
/// the way.
#[inline(never)]
pub fn copy(from: c_int, to: c_int) -> sys::Result<()> {
    let mut name = [0; 40];
    let number = u32::try_from(from).map_err(|_| libc::EBADF)?;
    let digits = &mut [0; 10];
    let _ = join(&mut name, &[b"/proc/thread-self/fdinfo/", decimal(number, digits), b"\0"]);
    let name = CStr::from_bytes_until_nul(&name).map_err(|_| libc::EBADF)?;
    // Without /proc nobody knows, and what was locked is locked no more.
    let Ok(info) = sys::open(name, libc::O_RDONLY) else { return Ok(()) };
    // Some lines; who has more locks on a file that it only reads keeps the first ones.
    let mut text = [0u8; 1024];
    let n = sys::read(info, &mut text).unwrap_or(0);
    sys::close(info);
    let lines = text.get(..n).unwrap_or_default().split(|&b| b == b'\n');
    for lock in lines.filter_map(|line| line.strip_prefix(b"lock:")) {
        set(lock, to)?;
    }
    Ok(())
}

/// Sets the lock that a line describes.
fn set(line: &[u8], to: c_int) -> sys::Result<()> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (_, family, _, kind) = (words.next(), words.next(), words.next(), words.next());
    let writes = kind == Some(b"WRITE");
    match family {
        Some(b"FLOCK") => {
            sys::flock(to, if writes { LOCK_EX } else { LOCK_SH } | LOCK_NB).map(|_| ())
        }
        Some(b"OFDLCK") => {
            let mut bound = || core::str::from_utf8(words.next()?).ok()?.parse::<i64>().ok();
            // The process and the file come first.
            let _ = (bound(), bound());
            let (first, last) = (bound().unwrap_or(0), bound());
            // SAFETY: a struct of integers may be all zero.
            let mut lock: libc::flock = unsafe { zeroed() };
            lock.l_type = if writes { F_WRLCK } else { F_RDLCK } as _;
            lock.l_start = first;
            // A length of 0 leads to the end of the file, however long it is.
            lock.l_len = last.map_or(0, |last| last - first + 1);
            sys::fcntl(to, libc::F_OFD_SETLK, (&raw mut lock) as usize).map(|_| ())
        }
        _ => Ok(()),
    }
}
