//! Memory for hooks of functions whose own contract allocates: libc's, so that an allocator that the program brings
//! serves us too. Only malloc and free are used: each symbol that is imported costs every process its look-up.
//!
//! What must stay true: errno is that of the call that failed, so freeing keeps it.

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr;
use core::slice;

use pyshm_core::base::sys;

/// An array that grows. A failed allocation leaves it as it was, with errno set by malloc.
pub struct Array<T: Copy> {
    start: *mut T,
    len: usize,
    room: usize,
}

impl<T: Copy> Array<T> {
    /// An empty one, without memory.
    pub const fn new() -> Self {
        Self { start: ptr::null_mut(), len: 0, room: 0 }
    }

    /// What is in it.
    pub fn all(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `len` elements were written, in memory that is ours.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }

    /// The same, to be changed.
    pub fn all_mut(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: as above, and nobody else has it.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Makes room for `more` elements.
    fn reserve(&mut self, more: usize) -> Option<()> {
        let need = self.len.checked_add(more)?;
        if need <= self.room {
            return Some(());
        }
        let room = need.max(self.room.saturating_mul(2)).max(16);
        let bytes = room.checked_mul(size_of::<T>())?;
        // SAFETY: it takes a number.
        let start: *mut T = unsafe { libc::malloc(bytes) }.cast();
        if start.is_null() {
            return None;
        }
        // SAFETY: the new memory has room for what is in the old; that is malloc's too, or null.
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

    /// Adds elements.
    pub fn extend(&mut self, more: &[T]) -> Option<()> {
        self.reserve(more.len())?;
        // SAFETY: there is room for them, and they are not in this array, which is borrowed.
        unsafe { ptr::copy_nonoverlapping(more.as_ptr(), self.start.add(self.len), more.len()) };
        self.len += more.len();
        Some(())
    }

    /// Adds an element.
    pub fn push(&mut self, element: T) -> Option<()> {
        self.extend(slice::from_ref(&element))
    }

    /// Takes the last element away.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.all().last().copied();
        self.truncate(self.len.saturating_sub(1));
        last
    }

    /// Keeps the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Gives the memory away, to be freed by free(3). Null if nothing was ever in it.
    pub fn into_raw(mut self) -> *mut T {
        let start = self.start;
        self.start = ptr::null_mut();
        start
    }
}

impl<T: Copy> Drop for Array<T> {
    fn drop(&mut self) {
        // SAFETY: memory of malloc's that nobody else knows, or null.
        unsafe { release(self.start.cast()) };
    }
}

/// free(3) that keeps errno, which libc's own does only since 2.33.
///
/// # Safety
/// As free.
pub unsafe fn release(block: *mut c_void) {
    let errno = sys::errno();
    // SAFETY: by the caller's word.
    unsafe { libc::free(block) };
    sys::set_errno(errno);
}

/// Zeroed memory, or null with errno set.
pub fn zeroed(bytes: usize) -> *mut c_void {
    // SAFETY: a new block of this size.
    unsafe {
        // Else the compiler makes it a calloc.
        let block = core::hint::black_box(libc::malloc(bytes));
        if !block.is_null() {
            ptr::write_bytes(block.cast::<u8>(), 0, bytes);
        }
        block
    }
}
