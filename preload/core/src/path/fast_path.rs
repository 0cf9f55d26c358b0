//! Looks at a path once, in one pass, and tells which of nearly all paths of nearly all programs are outside every
//! prefix. So this is what the shim costs where it does not help.
//!
//! Relative paths, odd spellings, `/proc` and `/dev`, where a name may lead through a descriptor, and strings near the
//! end of a page are left to a closer look ([`crate::path::reads`]).

use core::ffi::c_char;
use core::slice;

use crate::base::readable;
use crate::decide::spelling::plain_length;
use crate::path::fd_link;
use crate::stage::current::stage;

/// What one pass over a path shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// There is no stage, or the path lies outside every prefix: it goes to the kernel, whatever the operation.
    Outside,
    /// Its spelling is plain, has this length in bytes, and lies under a prefix.
    Inside(usize),
    /// It takes a closer look.
    Unclear,
}

/// Looks at a path.
///
/// # Safety
/// `path` may be any pointer. If it can be read, it must be a C string.
#[inline(never)]
pub unsafe fn look(path: *const c_char) -> Look {
    let Some(stage) = stage() else { return Look::Outside };
    let Some(rest) = readable::page_rest(path as usize) else { return Look::Unclear };
    // SAFETY: as many bytes can be read.
    let Some(length) = (unsafe { plain_length(path.cast(), rest) }) else { return Look::Unclear };
    // SAFETY: as many bytes precede the NUL.
    let text = unsafe { slice::from_raw_parts(path.cast(), length) };
    if stage.view.prefix_of(text).is_some() {
        Look::Inside(length)
    } else if fd_link::may_be(text) {
        Look::Unclear
    } else {
        Look::Outside
    }
}
