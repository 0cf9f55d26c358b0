//! Strings that live as long as the process: names that the loader keeps, or that a program may keep.
//!
//! Invariants: no lock, no allocator, and nothing is ever freed, so a signal handler and the child of a vfork may add a
//! string too. Equal strings are kept once.

use core::ffi::c_char;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::base::sys;

/// Bytes of memory that are taken at once.
const CHUNK: usize = 1 << 16;

/// A string, which follows in memory, with its NUL.
struct Node {
    next: *mut Node,
    len: usize,
}

/// Memory of which the first bytes are used, this structure among them.
struct Chunk {
    used: AtomicUsize,
}

static LAST: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
static FREE: AtomicPtr<Chunk> = AtomicPtr::new(ptr::null_mut());

/// A C string with this text; `None` without memory.
pub fn intern(text: &[u8]) -> Option<*const c_char> {
    let mut last = LAST.load(Ordering::Acquire);
    if let Some(known) = find(last, ptr::null_mut(), text) {
        return Some(known);
    }
    let new = take(size_of::<Node>() + text.len() + 1)?.cast::<Node>();
    // SAFETY: new memory, aligned and long enough, which no other thread knows before it is published.
    unsafe {
        new.write(Node { next: last, len: text.len() });
        let start = new.add(1).cast::<u8>();
        start.copy_from_nonoverlapping(text.as_ptr(), text.len());
        start.add(text.len()).write(0);
    }
    loop {
        match LAST.compare_exchange(last, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: the string follows its node.
            Ok(_) => return Some(unsafe { new.add(1) }.cast()),
            Err(now) => {
                // Another thread may have added the same string meanwhile.
                if let Some(known) = find(now, last, text) {
                    return Some(known);
                }
                last = now;
                // SAFETY: as above, not published yet.
                unsafe { (*new).next = last };
            }
        }
    }
}

/// The string with this text among the nodes from `node` to `end`, which is left out.
fn find(mut node: *mut Node, end: *mut Node, text: &[u8]) -> Option<*const c_char> {
    while node != end {
        // SAFETY: a published node, which nothing changes, with its string behind it.
        let (next, known) = unsafe {
            let start = node.add(1).cast::<u8>();
            ((*node).next, slice::from_raw_parts(start, (*node).len))
        };
        if known == text {
            return Some(known.as_ptr().cast());
        }
        node = next;
    }
    None
}

/// Memory for `bytes`, aligned for a node.
fn take(bytes: usize) -> Option<*mut u8> {
    let bytes = bytes.checked_next_multiple_of(align_of::<Node>())?;
    if bytes > CHUNK - size_of::<Chunk>() {
        return None;
    }
    loop {
        let chunk = FREE.load(Ordering::Acquire);
        // SAFETY: null, or a chunk, which is never unmapped.
        if let Some(known) = unsafe { chunk.as_ref() } {
            let at = known.used.fetch_add(bytes, Ordering::Relaxed);
            if at <= CHUNK - bytes {
                // SAFETY: the chunk has as many bytes, and these are given out once.
                return Some(unsafe { chunk.cast::<u8>().add(at) });
            }
        }
        let new = sys::memory(CHUNK).ok()?.cast::<Chunk>();
        // SAFETY: new memory, page-aligned.
        unsafe { new.write(Chunk { used: AtomicUsize::new(size_of::<Chunk>()) }) };
        // If another thread was faster, its chunk is used, and this one stays mapped and untouched.
        let _ = FREE.compare_exchange(chunk, new, Ordering::AcqRel, Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use core::ffi::CStr;

    use super::*;

    #[test]
    fn equal_strings_are_kept_once() {
        let of = |text: &[u8]| intern(text).expect("memory");
        let (a, b) = (of(b"/a/long/name"), of(b"/b"));
        // SAFETY: both are C strings that are never freed.
        unsafe {
            assert_eq!(CStr::from_ptr(a).to_bytes(), b"/a/long/name");
            assert_eq!(CStr::from_ptr(b).to_bytes(), b"/b");
        }
        assert_eq!((of(b"/a/long/name"), of(b"/b")), (a, b));
        assert_eq!(intern(&[b'x'; CHUNK]), None);
        for n in 0..200usize {
            let text = [b'y'; 4000];
            assert!(intern(&text[n..]).is_some());
        }
        assert_eq!(of(b"/b"), b);
    }
}
