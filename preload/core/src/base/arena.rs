//! Provides memory on the stack for one exec or spawn.
//!
//! An exec hook may run in a vfork child, which shares the parent's memory. A heap block that the child allocates would
//! leak into the parent. And a thread of the parent may hold the allocator's locks.

use core::ffi::c_char;
use core::mem::{self, MaybeUninit};

/// A block of stack memory, handed out in words of eight bytes.
pub struct Arena<'a> {
    free: &'a mut [MaybeUninit<u64>],
}

impl<'a> Arena<'a> {
    fn take(&mut self, words: usize) -> Option<&'a mut [MaybeUninit<u64>]> {
        if words > self.free.len() {
            return None;
        }
        let (taken, free) = mem::take(&mut self.free).split_at_mut(words);
        self.free = free;
        Some(taken)
    }

    /// Joins parts into one C string. `None` if they do not fit.
    pub fn string(&mut self, parts: &[&[u8]]) -> Option<*const c_char> {
        let len: usize = parts.iter().map(|p| p.len()).sum();
        let room = self.take(len / 8 + 1)?;
        let mut to = room.as_mut_ptr().cast::<u8>();
        for part in parts {
            // SAFETY: `room` has at least `len + 1` bytes, and the parts are `len` bytes together.
            unsafe {
                to.copy_from_nonoverlapping(part.as_ptr(), part.len());
                to = to.add(part.len());
            }
        }
        // SAFETY: the byte behind the parts.
        unsafe { to.write(0) };
        Some(room.as_ptr().cast())
    }

    /// Joins the parts that an iterator gives into one C string. `None` if they do not fit.
    ///
    /// The iterator runs twice, and the environment that it reads may change in between. So the string ends before the
    /// first part that no longer fits.
    pub fn string_of<'p>(
        &mut self,
        parts: impl Iterator<Item = &'p [u8]> + Clone,
    ) -> Option<*const c_char> {
        let len: usize = parts.clone().map(<[u8]>::len).sum();
        let room = self.take(len / 8 + 1)?;
        let start = room.as_mut_ptr().cast::<u8>();
        let mut at = 0;
        for part in parts {
            if part.len() > len - at {
                break;
            }
            // SAFETY: `room` has at least `len + 1` bytes, and `at` and the part together are no more than `len`.
            unsafe { start.add(at).copy_from_nonoverlapping(part.as_ptr(), part.len()) };
            at += part.len();
        }
        // SAFETY: the byte behind the parts.
        unsafe { start.add(at).write(0) };
        Some(start.cast())
    }

    /// Makes an array of `len` null pointers. `None` if it does not fit.
    pub fn array(&mut self, len: usize) -> Option<&'a mut [*const c_char]> {
        let room = self.take(len)?;
        for word in room.iter_mut() {
            word.write(0);
        }
        // SAFETY: the words are initialized and have a pointer's size and alignment, and zero is the null pointer.
        Some(unsafe { core::slice::from_raw_parts_mut(room.as_mut_ptr().cast(), len) })
    }
}

const _: () = assert!(size_of::<*const c_char>() == size_of::<u64>());

/// Runs `f` with at least `bytes` bytes of memory. `None` if `bytes` is over 1 MiB, which is too much for a stack.
pub fn with<R>(bytes: usize, f: impl FnOnce(&mut Arena<'_>) -> R) -> Option<R> {
    match bytes.div_ceil(8) {
        0..=2048 => Some(sized::<2048, R>(f)),
        2049..=16384 => Some(sized::<16384, R>(f)),
        16385..=131_072 => Some(sized::<131_072, R>(f)),
        _ => None,
    }
}

#[inline(never)]
fn sized<const N: usize, R>(f: impl FnOnce(&mut Arena<'_>) -> R) -> R {
    let mut words = [const { MaybeUninit::uninit() }; N];
    f(&mut Arena { free: &mut words })
}
