//! Namespaces of their own (dlmopen(3)), each with a copy of this library.
//!
//! What is loaded into a new namespace gets a libc of its own, and would write past the hooks. So a new namespace gets
//! a copy of this library first: the loader looks in the first object of a namespace before all others. The copy works
//! with that namespace's libc.
//!
//! A namespace ends when the last object in it is closed, which the copy prevents. There are only sixteen, so one in
//! which nothing but the copy is left is used for the next one that is asked for.

use core::cell::UnsafeCell;
use core::ffi::{c_int, c_long};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

use pyshm_core::base::link_map::{self, Copy};
use pyshm_core::stage::current::stage;

use crate::hooks::loader::names::dlinfo;
use crate::hooks::loader::real::{NEW, load};
use crate::libc_calls::lazy_libc;

const RTLD_DI_LMID: c_int = 1;
/// Number of namespaces that glibc has (DL_NNS).
const SPACES: usize = 16;

/// Nobody uses the place.
const UNUSED: u8 = 0;
/// A namespace is being made.
const MAKING: u8 = 1;
/// There is a namespace, and nobody is loading anything into it for the first time.
const READY: u8 = 2;
/// Somebody is about to load something into it. Where the loader is jumped to, nobody says when that is done.
const CLAIMED: u8 = 3;

struct Place {
    state: AtomicU8,
    space: UnsafeCell<MaybeUninit<(Copy, c_long)>>,
}

// SAFETY: `space` is written once, by the thread that moved the state from UNUSED to MAKING, and read after that.
unsafe impl Sync for Place {}

static PLACES: [Place; SPACES] = [const {
    Place { state: AtomicU8::new(UNUSED), space: UnsafeCell::new(MaybeUninit::uninit()) }
}; SPACES];

/// A namespace that a thread has for itself until it has loaded something.
pub(super) struct Claimed(&'static Place);

impl Claimed {
    /// The loader's number of the namespace.
    pub(super) fn number(&self) -> c_long {
        // SAFETY: written before the state became READY, and never again.
        unsafe { (*self.0.space.get()).assume_init_ref() }.1
    }

    /// Says that the object is loaded, or that loading has failed.
    pub(super) fn release(self) {
        self.0.state.store(READY, Ordering::Release);
    }
}

/// A namespace with a copy of this library and nothing else; `None` where none can be made.
pub(super) fn claim() -> Option<Claimed> {
    stage()?;
    reuse(READY).or_else(make).or_else(|| reuse(CLAIMED))
}

/// A namespace in this state in which nothing is left.
fn reuse(state: u8) -> Option<Claimed> {
    PLACES.iter().find_map(|place| {
        if place.state.load(Ordering::Acquire) != state {
            return None;
        }
        // SAFETY: as in `number`.
        let alone = unsafe { (*place.space.get()).assume_init_ref() }.0.is_alone();
        let free =
            || place.state.compare_exchange(state, CLAIMED, Ordering::AcqRel, Ordering::Relaxed);
        (alone && free().is_ok()).then_some(Claimed(place))
    })
}

/// Makes a namespace.
fn make() -> Option<Claimed> {
    let unused = |place: &&Place| {
        let taken =
            place.state.compare_exchange(UNUSED, MAKING, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok()
    };
    let place = PLACES.iter().find(unused)?;
    match made() {
        Some(space) => {
            // SAFETY: this thread alone has moved the state to MAKING, and nothing reads the place until READY.
            unsafe { (*place.space.get()).write(space) };
            place.state.store(CLAIMED, Ordering::Release);
            Some(Claimed(place))
        }
        None => {
            place.state.store(UNUSED, Ordering::Release);
            None
        }
    }
}

fn made() -> Option<(Copy, c_long)> {
    let own = link_map::own_file()?;
    // SAFETY: the file of this library, whose constructor does nothing in another namespace.
    unsafe {
        let handle = load(NEW, own.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        if handle.is_null() {
            return None;
        }
        let mut number: c_long = 0;
        let asked = dlinfo::real()(handle, RTLD_DI_LMID, (&raw mut number).cast());
        match link_map::introduce(handle).filter(|_| asked == 0) {
            Some(copy) => Some((copy, number)),
            None => {
                lazy_libc::dlclose(handle);
                None
            }
        }
    }
}
