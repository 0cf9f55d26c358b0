//! Giving what a caller wants done to a function that is not generic, and so not compiled for each hook.

use crate::sys;

/// What `f` returns when `through` calls it, which it does exactly once on every way.
#[inline]
pub fn once<A, R>(f: impl FnOnce(A) -> R, through: impl FnOnce(&mut dyn FnMut(A))) -> R {
    let mut f = Some(f);
    let mut result = None;
    through(&mut |a| result = f.take().map(|f| f(a)));
    match result {
        Some(result) => result,
        // Cannot happen. There is no result that could be made up, and a hook must not panic.
        None => sys::abort(),
    }
}
