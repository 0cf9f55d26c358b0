//! Finds the stage of this process once, and gives it to every later caller.
//!
//! Invariants:
//! - The first call of [`stage`] finds the stage. The shim's constructor would be too late, because other libraries'
//!   constructors may run before the shim's and call hooks.
//! - A second thread that asks while the first one is still finding the stage maps the stage a second time. Without a
//!   stage, the second thread's writes would not be marked. If the second thread waited instead, a child forked at that
//!   moment would wait forever, because the first thread does not exist in the child. If the first thread asks again in
//!   a signal handler or callback, it gets no stage.
//! - Any failure leaves the shim inert for the rest of the process. The shim reports the failure only if `PYSHM_LOG` is
//!   set ([`crate::stage::log`]).

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::base::sys;
use crate::stage::find::{allowed, find, open};
use crate::stage::inert::Inert;
use crate::stage::mapped::Stage;

/// No caller has asked for the stage yet.
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
// SAFETY: the cell is written once, by the thread that moved STATE from NEW to BUSY, and read only after STATE is
// ACTIVE.
unsafe impl Sync for Cell {}
static CELL: Cell = Cell(UnsafeCell::new(MaybeUninit::uninit()));

/// The thread that moved STATE to BUSY; 0 until that thread stores its number.
static FINDER: AtomicUsize = AtomicUsize::new(0);
/// The stage that another thread found while STATE was BUSY; null if no other thread found one.
static LATE: AtomicPtr<Stage> = AtomicPtr::new(ptr::null_mut());
/// The numbers of the process that changed its root directory and of its parent.
static ROOTED: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// The stage, if this process has one.
#[inline]
pub fn stage() -> Option<&'static Stage> {
    match STATE.load(Ordering::Acquire) {
        // SAFETY: ACTIVE was stored with release after the cell was filled, and nothing writes the cell again.
        ACTIVE => Some(unsafe { (*CELL.0.get()).assume_init_ref() }),
        NEW | BUSY => init(),
        MOVED => of_parent(),
        _ => None,
    }
}

/// The stage of a process whose vfork child changed its root directory. Parent and child share this memory but not the
/// root directory.
#[cold]
#[inline(never)]
fn of_parent() -> Option<&'static Stage> {
    let [child, parent] = &ROOTED;
    let (child, parent) = (child.load(Ordering::Acquire), parent.load(Ordering::Acquire));
    let own = sys::pid();
    // SAFETY: STATE becomes MOVED only from ACTIVE, and the cell is not written again.
    (own == parent && own != child).then(|| unsafe { (*CELL.0.get()).assume_init_ref() })
}

#[cold]
#[inline(never)]
fn init() -> Option<&'static Stage> {
    init_with(find)
}

/// Uses the stage in `dir`; `None` if the stage is unusable. Only the trampoline calls this, because it knows where its
/// stage lies. Must be called before [`stage`].
pub fn use_directory(dir: &[u8]) -> Option<&'static Stage> {
    init_with(|| allowed().and_then(|()| open(dir)))
}

fn init_with(find: impl FnOnce() -> Result<Stage, Inert>) -> Option<&'static Stage> {
    match STATE.compare_exchange(NEW, BUSY, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => FINDER.store(sys::thread(), Ordering::Release),
        Err(BUSY) if FINDER.load(Ordering::Acquire) == sys::thread() => return None,
        Err(BUSY) => return find_late(find),
        Err(_) => return stage(),
    }
    match find() {
        Ok(found) => {
            // SAFETY: only the thread that set BUSY writes the cell, and no thread reads it before ACTIVE.
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

/// The stage for a thread that asks while another thread is still finding the stage.
fn find_late(find: impl FnOnce() -> Result<Stage, Inert>) -> Option<&'static Stage> {
    let known = LATE.load(Ordering::Acquire);
    if known.is_null() {
        let found = find().ok()?;
        let mine = sys::memory(size_of::<Stage>()).ok()?.cast::<Stage>();
        // SAFETY: the memory is new, page-aligned and long enough, and no other thread knows it yet.
        unsafe { mine.write(found) };
        // If another thread was faster, this thread uses the other thread's stage. The stage that this thread mapped
        // stays mapped and unused.
        let _ = LATE.compare_exchange(known, mine, Ordering::AcqRel, Ordering::Acquire);
    }
    // SAFETY: the pointer is null, or its stage was written before the pointer was published. Nothing writes or unmaps
    // the stage again.
    unsafe { LATE.load(Ordering::Acquire).as_ref() }
}

/// Turns the shim off for the rest of the process.
pub fn turn_off() {
    STATE.store(Inert::OtherRoot as u8, Ordering::Release);
}

/// Turns the shim off after chroot, because the index's paths now name other files. The parent of a vfork child keeps
/// its stage.
pub fn root_changed() {
    ROOTED[0].store(sys::pid(), Ordering::Release);
    ROOTED[1].store(sys::parent(), Ordering::Release);
    let _ = STATE.compare_exchange(ACTIVE, MOVED, Ordering::AcqRel, Ordering::Relaxed);
}

/// Why this process has no stage: the number of an [`Inert`]. A smaller number means that the process has a stage or
/// has not looked for one.
pub fn why_inert() -> u8 {
    STATE.load(Ordering::Acquire)
}
