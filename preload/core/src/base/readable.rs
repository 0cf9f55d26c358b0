//! Whether a caller's pointer can be read: libc's functions hand it to the kernel, which answers EFAULT where reading it
//! here would end the program.
//!
//! The kernel is asked once for a page; a table remembers the pages that were readable. One that was taken away since
//! is not noticed: then the program ends, as it does in every function of libc's that reads a string itself.

use core::ffi::c_int;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::base::sys;

/// Bytes of the smallest page of both architectures.
const PAGE: usize = 4096;
/// Pages that are remembered, each at the place of its number's last bits.
const PLACES: usize = 512;

static READABLE: [AtomicUsize; PLACES] = [const { AtomicUsize::new(0) }; PLACES];

/// Bytes from `address` to the end of its page, if they can be read.
#[inline]
pub fn page_rest(address: usize) -> Option<usize> {
    let page = address / PAGE;
    let place = READABLE.get(page % PLACES)?;
    // Page 0 belongs to no program, and an empty place looks like it.
    if page == 0 || place.load(Ordering::Relaxed) != page && !remember(place, page) {
        return None;
    }
    Some(PAGE - address % PAGE)
}

/// Whether `len` bytes, less than a page, can be read at `address`.
pub fn is_readable(address: usize, len: usize) -> bool {
    page_rest(address)
        .is_some_and(|rest| rest >= len || page_rest(address.wrapping_add(rest)).is_some())
}

/// Whether valgrind runs the program: its question to itself, which the processor does not notice (`RUNNING_ON_VALGRIND` of
/// valgrind.h). The instructions rotate a register once around.
fn under_valgrind() -> bool {
    let question = [0x1001_usize, 0, 0, 0, 0, 0];
    let answer: usize;
    // SAFETY: no register changes but the one that the answer is in; valgrind reads six words of `question`.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!("rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") question.as_ptr(), inlateout("rdx") 0_usize => answer, options(nostack));
        #[cfg(target_arch = "aarch64")]
        core::arch::asm!("ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61",
            "orr x10, x10, x10", in("x4") question.as_ptr(), inlateout("x3") 0_usize => answer, options(nostack));
    }
    answer != 0
}

#[cold]
#[inline(never)]
fn remember(place: &AtomicUsize, page: usize) -> bool {
    // It would complain of the call to its user, and of the program's own pointer it does so better.
    if under_valgrind() {
        return true;
    }
    // rt_sigprocmask reads a set of signals before it finds out that there is no such operation (sigprocmask(2),
    // kernel/signal.c), and changes nothing.
    const NO_OPERATION: c_int = -1;
    // SAFETY: the kernel checks the pointer, reads eight bytes, and writes nothing.
    let answer = unsafe {
        sys::syscall(libc::SYS_rt_sigprocmask, [NO_OPERATION as usize, page * PAGE, 0, 8, 0, 0])
    };
    let readable = answer != Err(libc::EFAULT);
    if readable {
        place.store(page, Ordering::Relaxed);
    }
    readable
}
