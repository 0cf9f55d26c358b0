//! Giving what a caller wants done to a function that is not generic, and so not compiled for each hook.
//!
//! A `&mut dyn FnMut` would do the same. But each type behind it has a table of its own, whose two addresses the loader
//! relocates at the start of every process: with a hundred and fifty of them that cost two pages and some 8 µs.

use core::marker::PhantomData;

use crate::base::sys;

/// What is to be done with an `A`, once.
pub struct Then<'f, A> {
    slot: *mut (),
    // Takes `slot`.
    call: unsafe fn(*mut (), A),
    lives: PhantomData<&'f mut ()>,
}

impl<A> Then<'_, A> {
    /// Does it.
    pub fn call(self, argument: A) {
        // SAFETY: `once` made `call` for the type of `slot`, which lives and is borrowed as long as this.
        unsafe { (self.call)(self.slot, argument) }
    }
}

struct Slot<F, R> {
    f: Option<F>,
    result: Option<R>,
}

/// What `f` returns when `through` calls it, which it does exactly once on every way.
#[inline]
pub fn once<A, R, F: FnOnce(A) -> R>(f: F, through: impl FnOnce(Then<'_, A>)) -> R {
    let mut slot = Slot { f: Some(f), result: None };
    /// # Safety
    /// `slot` must be a `Slot<F, R>` that nobody else uses.
    unsafe fn run<A, R, F: FnOnce(A) -> R>(slot: *mut (), argument: A) {
        // SAFETY: by the caller's word.
        let slot = unsafe { &mut *slot.cast::<Slot<F, R>>() };
        slot.result = slot.f.take().map(|f| f(argument));
    }
    through(Then { slot: (&raw mut slot).cast(), call: run::<A, R, F>, lives: PhantomData });
    match slot.result {
        Some(result) => result,
        // Cannot happen. There is no result that could be made up, and a hook must not panic.
        None => sys::abort(),
    }
}
