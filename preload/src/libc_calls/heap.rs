//! Provides memory of libc's malloc for hooks of functions whose contract allocates. So a program's own allocator also
//! serves the shim.
//!
//! Only malloc and free are used, because every process looks up each imported symbol.
//!
//! Invariant: freeing memory keeps errno, because a failed call may have set errno for the caller.

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr;
use core::slice;

use pyshm_core::base::sys;

/// A growing array. If an allocation fails, the array stays unchanged and malloc has set errno.
pub struct Array<T: Copy> {
    start: *mut T,
    len: usize,
    room: usize,
}

impl<T: Copy> Array<T> {
    /// An empty array, which owns no memory.
    pub const fn new() -> Self {
        Self { start: ptr::null_mut(), len: 0, room: 0 }
    }

    /// The elements.
    pub fn all(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `len` elements were written into this array's memory.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }

    /// The elements, to be changed.
    pub fn all_mut(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: as above, and the array is mutably borrowed.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Makes room for `more` elements. `None` without memory.
    fn reserve(&mut self, more: usize) -> Option<()> {
        let need = self.len.checked_add(more)?;
        if need <= self.room {
            return Some(());
        }
        let room = need.max(self.room.saturating_mul(2)).max(16);
        let bytes = room.checked_mul(size_of::<T>())?;
        // SAFETY: malloc takes only a number.
        let start: *mut T = unsafe { libc::malloc(bytes) }.cast();
        if start.is_null() {
            return None;
        }
        // SAFETY: the new memory has room for the old elements, and the old memory is malloc's or null.
        unsafe {
            if self.len > 0 {
                ptr::copy_nonoverlapping(self.start, start, self.len);
            }
            release(self.start.cast());
        }
        self.start = start;
        self.room = room;
        Some(())
    }

    /// Adds elements. `None` without memory; malloc has then set errno.
    pub fn extend(&mut self, more: &[T]) -> Option<()> {
        self.reserve(more.len())?;
        // SAFETY: the array has room for the elements. The array is mutably borrowed, so `more` does not lie in the
        // array.
        unsafe { ptr::copy_nonoverlapping(more.as_ptr(), self.start.add(self.len), more.len()) };
        self.len += more.len();
        Some(())
    }

    /// Adds an element. `None` without memory; malloc has then set errno.
    pub fn push(&mut self, element: T) -> Option<()> {
        self.extend(slice::from_ref(&element))
    }

    /// Removes the last element.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.all().last().copied();
        self.truncate(self.len.saturating_sub(1));
        last
    }

    /// Keeps the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Gives the memory to the caller, who must free it by free(3). Null if the array never had an element.
    pub fn into_raw(mut self) -> *mut T {
        let start = self.start;
        self.start = ptr::null_mut();
        start
    }
}

impl<T: Copy> Drop for Array<T> {
    fn drop(&mut self) {
        // SAFETY: the memory is malloc's and belongs to this array, or the pointer is null.
        unsafe { release(self.start.cast()) };
    }
}

/// Frees a block as free(3) does, and keeps errno. glibc's own free keeps errno only since 2.33.
///
/// # Safety
/// As free.
pub unsafe fn release(block: *mut c_void) {
    let errno = sys::errno();
    // SAFETY: the caller keeps free's contract.
    unsafe { libc::free(block) };
    sys::set_errno(errno);
}

/// Allocates a zeroed block of `bytes` bytes. Null with errno set if that fails.
pub fn zeroed(bytes: usize) -> *mut c_void {
    // SAFETY: the block is new and has `bytes` bytes.
    unsafe {
        // Without the black box the compiler would call calloc.
        let block = core::hint::black_box(libc::malloc(bytes));
        if !block.is_null() {
            ptr::write_bytes(block.cast::<u8>(), 0, bytes);
        }
        block
    }
}
