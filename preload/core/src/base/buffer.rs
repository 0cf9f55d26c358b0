//! Lends buffers of a path's length. They lie in memory of this library, because a thread or a signal handler may run on a
//! stack of a few kilobytes, as MINSIGSTKSZ and PTHREAD_STACK_MIN allow.
//!
//! Invariants:
//! - A buffer belongs to who took it until it is dropped, and is taken by one atomic operation. So a signal handler that
//!   interrupts a hook, and a child of vfork, which shares this memory, get other buffers.
//! - What never returns (a cancelled thread, a jump out of a signal handler, threads that a fork leaves behind) never drops
//!   its buffers. When all are taken, the kernel is asked for memory, which costs time alone.
//! - Nobody holds a buffer while the kernel starts a program: in a child of vfork it would never be dropped.
//! - Without any memory a buffer has no length, and a path in it counts as too long.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};
use core::{ptr, slice};

use crate::base::sys;

/// Length in bytes of the longest path that the kernel takes, with its NUL.
pub const PATH_MAX: usize = 4096;

/// The buffers; the ones in front are taken first.
struct Pool(UnsafeCell<[[u8; PATH_MAX]; u32::BITS as usize]>);
// SAFETY: a bit of `TAKEN` says who may use a buffer.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool(UnsafeCell::new([[0; PATH_MAX]; u32::BITS as usize]));
/// A bit for each buffer that is taken.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// Where a buffer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the pool, at this number.
    Pool(u32),
    /// In a mapping of its own.
    Mapping,
    /// Nowhere.
    Nowhere,
}

/// A buffer of [`PATH_MAX`] bytes, or of none without memory.
#[derive(Debug)]
pub struct Buffer {
    start: *mut u8,
    place: Place,
}

impl Buffer {
    /// Takes a buffer of zeroes.
    #[inline(never)]
    pub fn zeroed() -> Self {
        let mut taken = TAKEN.load(Ordering::Relaxed);
        while taken != u32::MAX {
            let number = taken.trailing_ones();
            let before = TAKEN.fetch_or(1 << number, Ordering::Acquire);
            if before & 1 << number == 0 {
                // SAFETY: the bit was not set, so nobody else uses the buffer.
                let start = unsafe {
                    let start = POOL.0.get().cast::<u8>().add(number as usize * PATH_MAX);
                    ptr::write_bytes(start, 0, PATH_MAX);
                    start
                };
                return Self { start, place: Place::Pool(number) };
            }
            taken = before;
        }
        match sys::memory(PATH_MAX) {
            Ok(start) => Self { start, place: Place::Mapping },
            Err(_) => Self { start: ptr::null_mut(), place: Place::Nowhere },
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self.place {
            Place::Pool(number) => {
                TAKEN.fetch_and(!(1 << number), Ordering::Release);
            }
            // SAFETY: the mapping belongs to this buffer.
            Place::Mapping => unsafe { sys::unmap(self.start, PATH_MAX) },
            Place::Nowhere => {}
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.place == Place::Nowhere {
            return &[];
        }
        // SAFETY: as many initialized bytes belong to this buffer.
        unsafe { slice::from_raw_parts(self.start, PATH_MAX) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        if self.place == Place::Nowhere {
            return &mut [];
        }
        // SAFETY: as above, and the buffer is mutably borrowed.
        unsafe { slice::from_raw_parts_mut(self.start, PATH_MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn all_buffers_are_different_and_come_back() {
        let mut all: Vec<Buffer> = (0..40).map(|_| Buffer::zeroed()).collect();
        for (i, buffer) in all.iter_mut().enumerate() {
            assert!(buffer.len() == PATH_MAX && buffer.iter().all(|&b| b == 0));
            buffer.fill(i as u8 + 1);
        }
        for (i, buffer) in all.iter().enumerate() {
            assert!(buffer.iter().all(|&b| b == i as u8 + 1));
        }
        assert!(all.iter().any(|buffer| buffer.place == Place::Mapping));
        drop(all);
        assert!(matches!(Buffer::zeroed().place, Place::Pool(_)));
    }
}
