//! Paths that are plainly outside every prefix: nearly all paths of nearly all programs, so this is what the shim costs
//! where it does not help.
//!
//! "No" means nothing: relative paths, odd spellings, `/proc` and `/dev`, where a name may lead through a descriptor,
//! and strings near a page's end are for [`crate::paths`] to look at in full.

use core::ffi::c_char;
use core::slice;

use crate::base::readable;
use crate::decide::spelling::plain_length;
use crate::path::fd_link;
use crate::stage::current::stage;

/// Whether the kernel is to get `path` as it is, whatever the operation: there is no stage, or it is plainly outside.
///
/// # Safety
/// If `path` can be read, it must be a C string.
#[inline(never)]
pub unsafe fn passes(path: *const c_char) -> bool {
    let Some(stage) = stage() else { return true };
    let Some(rest) = readable::page_rest(path as usize) else { return false };
    // SAFETY: as many bytes can be read.
    let Some(length) = (unsafe { plain_length(path.cast(), rest) }) else { return false };
    // SAFETY: as many bytes precede the NUL.
    let text = unsafe { slice::from_raw_parts(path.cast(), length) };
    stage.view.prefix_of(text).is_none() && !fd_link::may_be(text)
}
