//! Passes a caller's closure to a function that is not generic, so that the function is compiled only once for all
//! hooks.
//!
//! A `&mut dyn FnMut` would do the same. But each closure type would have a table with two addresses, which the loader
//! relocates at the start of every process. A hundred and fifty tables cost two pages and some 8 µs.

use core::marker::PhantomData;

use crate::base::sys;

/// A closure that takes an `A` and is called once.
pub struct Callback<'f, A> {
    slot: *mut (),
    // The function that takes `slot`.
    call: unsafe fn(*mut (), A),
    lives: PhantomData<&'f mut ()>,
}

impl<A> Callback<'_, A> {
    /// Calls the closure.
    pub fn call(self, argument: A) {
        // SAFETY: `call_through` made `call` for the type of `slot`. The slot is borrowed for as long as this callback
        // lives.
        unsafe { (self.call)(self.slot, argument) }
    }
}

struct Slot<F, R> {
    f: Option<F>,
    result: Option<R>,
}

/// Runs `through`, which must call its callback exactly once on every path, and returns the result of `f`. Aborts if
/// `through` does not call its callback.
#[inline]
pub fn call_through<A, R, F: FnOnce(A) -> R>(f: F, through: impl FnOnce(Callback<'_, A>)) -> R {
    let mut slot = Slot { f: Some(f), result: None };
    /// # Safety
    /// `slot` must be a `Slot<F, R>` that nothing else uses.
    unsafe fn run<A, R, F: FnOnce(A) -> R>(slot: *mut (), argument: A) {
        // SAFETY: the caller guarantees the type, and that the reference is the only one.
        let slot = unsafe { &mut *slot.cast::<Slot<F, R>>() };
        slot.result = slot.f.take().map(|f| f(argument));
    }
    through(Callback { slot: (&raw mut slot).cast(), call: run::<A, R, F>, lives: PhantomData });
    match slot.result {
        Some(result) => result,
        // This cannot happen. There is no result to return, and a hook must not panic.
        None => sys::abort(),
    }
}
