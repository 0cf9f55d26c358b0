//! The stage that this process uses, found once.
//!
//! Invariants:
//! - The stage is found by the first call that asks for it, because other libraries' constructors may run before the
//!   shim's.
//! - A second thread that asks meanwhile finds a stage for itself. If it were told that there is none, its writes would
//!   not be marked; if it waited, the child of a fork at that moment would wait forever. The first thread itself, in a
//!   handler or a callback, is told that there is no stage.
//! - Anything unexpected leaves the shim inert for the rest of the process, silently unless `PYSHM_LOG` is set
//!   ([`crate::stage::log`]).

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use pyshm_format::Reason;

use crate::base::sys;
use crate::stage::close::own_name;
use crate::stage::find::{allowed, find, open};
use crate::stage::inert::Inert;
use crate::stage::mapped::Stage;

/// Nothing has asked for the stage yet.
const NEW: u8 = 0;
/// A thread is finding the stage.
const BUSY: u8 = 1;
/// The stage is in the cell.
const ACTIVE: u8 = 2;
/// The stage was active until this process, or its vfork child, changed its root directory.
const MOVED: u8 = Inert::OtherRoot as u8;

/// One of the states above, or the number of an [`Inert`].
static STATE: AtomicU8 = AtomicU8::new(NEW);

struct Cell(UnsafeCell<MaybeUninit<Stage>>);
// SAFETY: it is written once, by the thread that moved STATE from NEW to BUSY, and read only after STATE is ACTIVE.
unsafe impl Sync for Cell {}
static CELL: Cell = Cell(UnsafeCell::new(MaybeUninit::uninit()));

/// The thread that moved STATE to BUSY; 0 before it says so.
static FINDER: AtomicUsize = AtomicUsize::new(0);
/// The stage that the first of the threads found that came during BUSY.
static LATE: AtomicPtr<Stage> = AtomicPtr::new(ptr::null_mut());
/// The process that changed its root directory, and its parent.
static ROOTED: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// The stage, if this process has one.
#[inline]
pub fn stage() -> Option<&'static Stage> {
    match STATE.load(Ordering::Acquire) {
        // SAFETY: ACTIVE was stored, with release, after the cell was filled; nothing writes the cell again.
        ACTIVE => Some(unsafe { (*CELL.0.get()).assume_init_ref() }),
        NEW | BUSY => init(),
        MOVED => of_parent(),
        _ => None,
    }
}

/// The stage of a process whose vfork child changed its root directory: they share this memory, but not the directory.
#[cold]
#[inline(never)]
fn of_parent() -> Option<&'static Stage> {
    let [child, parent] = &ROOTED;
    let (child, parent) = (child.load(Ordering::Acquire), parent.load(Ordering::Acquire));
    let own = sys::pid();
    // SAFETY: only ACTIVE changes to MOVED, and the cell is not written again.
    (own == parent && own != child).then(|| unsafe { (*CELL.0.get()).assume_init_ref() })
}

#[cold]
#[inline(never)]
fn init() -> Option<&'static Stage> {
    init_with(find)
}

/// Uses the stage in `dir`. For the trampoline, which knows where its stage lies; called before anything asks for one.
pub fn use_directory(dir: &[u8]) -> Option<&'static Stage> {
    init_with(|| allowed().and_then(|()| open(dir)))
}

fn init_with(find: impl FnOnce() -> Result<Stage, Inert>) -> Option<&'static Stage> {
    match STATE.compare_exchange(NEW, BUSY, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => FINDER.store(sys::thread(), Ordering::Release),
        Err(BUSY) if FINDER.load(Ordering::Acquire) == sys::thread() => return None,
        Err(BUSY) => return late(find),
        Err(_) => return stage(),
    }
    match find() {
        Ok(found) => {
            // SAFETY: only the thread that set BUSY writes the cell, and nothing reads it before ACTIVE.
            unsafe { (*CELL.0.get()).write(found) };
            STATE.store(ACTIVE, Ordering::Release);
            stage()
        }
        Err(why) => {
            STATE.store(why as u8, Ordering::Release);
            None
        }
    }
}

/// The stage for a thread that asks while another one is finding it.
fn late(find: impl FnOnce() -> Result<Stage, Inert>) -> Option<&'static Stage> {
    let known = LATE.load(Ordering::Acquire);
    if known.is_null() {
        let found = find().ok()?;
        let Ok(mine) = sys::memory(size_of::<Stage>()) else {
            // This thread goes on without the stage, so what it changes is not marked.
            found.close(Reason::Unmapped, own_name());
            return None;
        };
        let mine = mine.cast::<Stage>();
        // SAFETY: new memory, page-aligned and long enough, which no other thread knows yet.
        unsafe { mine.write(found) };
        // A thread that comes second uses the first one's; what it found itself stays mapped, unused.
        let _ = LATE.compare_exchange(known, mine, Ordering::AcqRel, Ordering::Acquire);
    }
    // SAFETY: the pointer is null or its stage was written before it was published; nothing writes or unmaps it again.
    unsafe { LATE.load(Ordering::Acquire).as_ref() }
}

/// Turns the shim off for the rest of the process.
pub fn turn_off() {
    STATE.store(Inert::OtherRoot as u8, Ordering::Release);
}

/// Turns the shim off after chroot, when no path means what the index says; the parent of a vfork child keeps its
/// stage.
pub fn root_changed() {
    ROOTED[0].store(sys::pid(), Ordering::Release);
    ROOTED[1].store(sys::parent(), Ordering::Release);
    let _ = STATE.compare_exchange(ACTIVE, MOVED, Ordering::AcqRel, Ordering::Relaxed);
}

/// Why this process has no stage: the number of an [`Inert`], or a smaller number.
pub fn why_inert() -> u8 {
    STATE.load(Ordering::Acquire)
}
