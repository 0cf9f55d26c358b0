//! Tells whether a caller's pointer can be read. A libc function passes a bad pointer to the kernel, which answers
//! EFAULT; a read by the shim would end the program.
//!
//! The kernel is asked once for each page, and a table remembers the pages that were readable. If the program unmaps
//! such a page later, a read by the shim ends the program. A read by a function of libc would end the program too.

use core::ffi::c_int;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::base::sys;

/// Bytes of the smallest page of both architectures.
const PAGE: usize = 4096;
/// Number of pages in the table. The low bits of a page's number are its place.
const PLACES: usize = 512;

static READABLE: [AtomicUsize; PLACES] = [const { AtomicUsize::new(0) }; PLACES];

/// The number of bytes from `address` to the end of its page. `None` if they cannot be read.
#[inline]
pub fn page_rest(address: usize) -> Option<usize> {
    let page = address / PAGE;
    let place = READABLE.get(page % PLACES)?;
    // No program has page 0, and a free place holds 0.
    if page == 0 || place.load(Ordering::Relaxed) != page && !remember(place, page) {
        return None;
    }
    Some(PAGE - address % PAGE)
}

/// Whether `len` bytes can be read at `address`. `len` must be less than a page.
pub fn is_readable(address: usize, len: usize) -> bool {
    page_rest(address)
        .is_some_and(|rest| rest >= len || page_rest(address.wrapping_add(rest)).is_some())
}

/// Whether valgrind runs the program (`RUNNING_ON_VALGRIND` of valgrind.h). The request is a sequence of instructions
/// that valgrind recognises and that change nothing: they rotate a register by its whole width.
fn under_valgrind() -> bool {
    let question = [0x1001_usize, 0, 0, 0, 0, 0];
    let answer: usize;
    // SAFETY: only the register of the answer changes, and valgrind reads the six words of `question`.
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
    // valgrind would report this system call as an error of the program. If the pointer is bad, the following read ends
    // the program, after valgrind has reported the bad pointer.
    if under_valgrind() {
        return true;
    }
    // rt_sigprocmask reads the set of signals first, then refuses an unknown operation and changes nothing
    // (kernel/signal.c).
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
