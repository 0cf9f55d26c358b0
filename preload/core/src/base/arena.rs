//! Provides memory for one exec or spawn: a little on the stack, a block of this library, or a mapping, because the stack may
//! be small.
//!
//! An exec hook may run in a vfork child, which shares the parent's memory. A heap block that the child allocates would
//! leak into the parent. And a thread of the parent may hold the allocator's locks.
//!
//! Nobody gives back the block of a vfork child that starts its program. So a block belongs to a process by number, and is
//! free when that process has other memory by now, or is gone. A kernel that does not tell leaves the block of a program that
//! runs taken. Without a block, 16 KB are on the stack, and more is mapped for one start. A vfork child that starts its
//! program leaves a mapping in the parent.

use core::cell::UnsafeCell;
use core::ffi::c_char;
use core::mem::{self, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::base::sys;

/// A block of stack memory, handed out in words of eight bytes.
pub struct Arena<'a> {
    free: &'a mut [MaybeUninit<u64>],
}

impl<'a> Arena<'a> {
    /// The same memory, which can be taken again when the result is no longer used.
    pub fn again(&mut self) -> Arena<'_> {
        Arena { free: self.free }
    }

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

/// Runs `f` with at least `bytes` bytes of memory. `None` if `bytes` is over 1 MiB, or if there is no memory.
pub fn with<R>(bytes: usize, f: impl FnOnce(&mut Arena<'_>) -> R) -> Option<R> {
    match bytes.div_ceil(8) {
        0..=32 => Some(sized::<32, R>(f)),
        words @ ..=131_072 => match Block::take(words) {
            Some(mut block) => Some(f(&mut Arena { free: block.words() })),
            None if words <= LEAST => Some(sized::<LEAST, R>(f)),
            None => Some(f(&mut Arena { free: Mapped::of(words)?.words() })),
        },
        _ => None,
    }
}

#[inline(never)]
fn sized<const N: usize, R>(f: impl FnOnce(&mut Arena<'_>) -> R) -> R {
    let mut words = [const { MaybeUninit::uninit() }; N];
    f(&mut Arena { free: &mut words })
}

/// Memory for one exec or spawn where no block is free, if it is too much for a small stack.
struct Mapped {
    start: *mut MaybeUninit<u64>,
    /// Number of words.
    len: usize,
}

impl Mapped {
    #[inline(never)]
    fn of(words: usize) -> Option<Self> {
        Some(Self { start: sys::memory(words * 8).ok()?.cast(), len: words })
    }

    fn words(&mut self) -> &mut [MaybeUninit<u64>] {
        // SAFETY: so many words were mapped, for this value alone.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: this value mapped the memory, and what was borrowed from it is no longer used.
        unsafe { sys::unmap(self.start.cast(), self.len * 8) };
    }
}

/// Memory that one exec or spawn at a time uses. A larger block is mapped when it is first needed, and stays.
struct Reserved {
    /// The process that uses it; 0 for none.
    owner: AtomicU32,
    start: AtomicPtr<MaybeUninit<u64>>,
    /// Number of words.
    len: AtomicUsize,
}

static RESERVED: [Reserved; 8] = [const {
    Reserved {
        owner: AtomicU32::new(0),
        start: AtomicPtr::new(ptr::null_mut()),
        len: AtomicUsize::new(0),
    }
}; 8];

/// Words of the block that every process has, and of the smallest one that is mapped.
const LEAST: usize = 2048;

/// The memory of the first block until more is needed.
struct First(UnsafeCell<[MaybeUninit<u64>; LEAST]>);
// SAFETY: the owner of the first block alone uses it.
unsafe impl Sync for First {}
static FIRST: First = First(UnsafeCell::new([const { MaybeUninit::uninit() }; LEAST]));

/// A block that this process uses.
struct Block(&'static Reserved);

impl Block {
    /// Takes a block of at least as many words. `None` if there is none, or no memory.
    #[inline(never)]
    fn take(words: usize) -> Option<Self> {
        let own = sys::pid();
        let block = RESERVED.iter().find(|block| {
            let owner = block.owner.load(Ordering::Acquire);
            let free = owner == 0 || owner != own && sys::shares_memory(own, owner) == Some(false);
            free && block
                .owner
                .compare_exchange(owner, own, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })?;
        let taken = Self(block);
        let len = block.len.load(Ordering::Acquire);
        let first = ptr::eq(block, &raw const RESERVED[0]);
        // A child of fork may have the first block between its two states: with memory, and no length.
        if first && words <= LEAST && block.start.load(Ordering::Acquire).is_null() {
            return Some(taken);
        }
        if len < words {
            let more = words.max(LEAST);
            let new = sys::memory(more * 8).ok()?.cast();
            // A child of fork at this moment finds an empty block.
            block.len.store(0, Ordering::Release);
            let old = block.start.swap(new, Ordering::AcqRel);
            block.len.store(more, Ordering::Release);
            if !old.is_null() {
                // SAFETY: nobody else uses the block, whose memory was mapped with this length.
                unsafe { sys::unmap(old.cast(), len * 8) };
            }
        }
        Some(taken)
    }

    fn words(&mut self) -> &mut [MaybeUninit<u64>] {
        let (mut start, mut len) =
            (self.0.start.load(Ordering::Acquire), self.0.len.load(Ordering::Acquire));
        if start.is_null() {
            (start, len) = (FIRST.0.get().cast(), LEAST);
        }
        // SAFETY: the block belongs to this process, and to this value in it; its memory stays mapped.
        unsafe { core::slice::from_raw_parts_mut(start, len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.0.owner.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_different_and_come_back() {
        let inner = |words: usize| {
            with(words * 8, |arena| arena.array(words).map(|a| a.as_ptr() as usize)).flatten()
        };
        let first = inner(3000).unwrap();
        let both = with(24_000, |arena| {
            let own = arena.array(3000).unwrap().as_ptr() as usize;
            (own, inner(100_000).unwrap())
        });
        let (own, other) = both.unwrap();
        assert!(own == first && other.abs_diff(own) >= 24_000);
        assert_eq!(inner(3000), Some(first));
        assert_eq!(inner(200_000), None);
    }
}
