//! Recognises in one pass most paths that lie outside every prefix. Nearly every path of nearly every program is such a
//! path, so this pass takes most of the time that the shim costs a program that it does not help.
//!
//! Some paths are left to a closer look ([`crate::path::reads`]): relative paths, odd spellings, strings near the end
//! of a page, and paths in `/proc` and `/dev`, which may lead through a descriptor.

use core::ffi::c_char;
use core::slice;

use crate::base::readable;
use crate::decide::spelling::plain_length;
use crate::path::fd_link;
use crate::stage::current::stage;

/// What one pass over a path shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// There is no stage, or the path lies outside every prefix. The path goes to the kernel unchanged, whatever the
    /// operation is.
    Outside,
    /// The path is plain and lies under a prefix. The number is the path's length in bytes.
    Inside(usize),
    /// The path needs a closer look.
    Unclear,
}

/// Examines the spelling of a path.
///
/// # Safety
/// `path` may be any pointer. If the pointer can be read, it must lead to a C string.
#[inline(never)]
pub unsafe fn look(path: *const c_char) -> Look {
    let Some(stage) = stage() else { return Look::Outside };
    let Some(rest) = readable::page_rest(path as usize) else { return Look::Unclear };
    // SAFETY: `page_rest` says that `rest` bytes can be read.
    let Some(length) = (unsafe { plain_length(path.cast(), rest) }) else { return Look::Unclear };
    // SAFETY: `length` readable bytes precede the NUL.
    let text = unsafe { slice::from_raw_parts(path.cast(), length) };
    if stage.view.prefix_of(text).is_some() {
        Look::Inside(length)
    } else if fd_link::may_be(text) {
        Look::Unclear
    } else {
        Look::Outside
    }
}
