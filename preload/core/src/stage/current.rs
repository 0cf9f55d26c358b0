//! Finds the stage, checks that it is ours, maps it.
//!
//! What must stay true:
//! - It happens lazily, at whatever call comes first: other libraries' constructors may run before ours.
//! - Another thread that comes while it is under way finds the stage for itself: were it told that there is none, what
//!   it writes would not be marked. It does not wait either: in the child of a fork at that moment nobody would finish.
//!   The same thread, in a handler or a callback, is told that there is no stage, and passes.
//! - Anything unexpected makes the shim inert for good, silently unless `PYSHM_LOG` asks (see [`crate::log`]).
//! - Nothing is trusted but a directory that belongs to the effective user and that no one else may write. What its
//!   owner alters in the files after they were mapped is beyond us: cutting one short kills whoever looks there.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::base::sys;
use crate::stage::find::allowed;
use crate::stage::find::find;
use crate::stage::find::open;
use crate::stage::inert::Inert;
use crate::stage::mapped::Stage;

const NEW: u8 = 0;
const BUSY: u8 = 1;
const ACTIVE: u8 = 2;
// Anything else is a reason: see `Inert`.
/// Was active; since then the process, or its vfork child, has changed its root directory.
const MOVED: u8 = Inert::OtherRoot as u8;

static STATE: AtomicU8 = AtomicU8::new(NEW);

struct Cell(UnsafeCell<MaybeUninit<Stage>>);
// SAFETY: it is written once, by whoever moved STATE from NEW to BUSY, and read only after STATE is ACTIVE.
unsafe impl Sync for Cell {}
static CELL: Cell = Cell(UnsafeCell::new(MaybeUninit::uninit()));

/// The thread that moved STATE to BUSY; 0 before it says so.
static FINDER: AtomicUsize = AtomicUsize::new(0);
/// What the first of the threads found that came during BUSY.
static LATE: AtomicPtr<Stage> = AtomicPtr::new(ptr::null_mut());
/// Who changed its root directory: this process, and its parent.
static ROOTED: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// The stage, if this process has one.
#[inline]
pub fn stage() -> Option<&'static Stage> {
    match STATE.load(Ordering::Acquire) {
        // SAFETY: ACTIVE was stored, with release, after the cell was filled; nobody writes it again.
        ACTIVE => Some(unsafe { (*CELL.0.get()).assume_init_ref() }),
        NEW | BUSY => init(),
        MOVED => of_parent(),
        _ => None,
    }
}

/// The stage of a process whose memory says that someone changed the root directory: a vfork child, which shares it, but
/// not the directory.
#[cold]
#[inline(never)]
fn of_parent() -> Option<&'static Stage> {
    let [child, parent] = &ROOTED;
    let (child, parent) = (child.load(Ordering::Acquire), parent.load(Ordering::Acquire));
    let own = sys::pid();
    // SAFETY: only an active stage is left for MOVED, and its cell is not written again.
    (own == parent && own != child).then(|| unsafe { (*CELL.0.get()).assume_init_ref() })
}

#[cold]
#[inline(never)]
fn init() -> Option<&'static Stage> {
    init_with(find)
}

/// Takes the stage in `dir` before anything asks for one: for the trampoline, which knows where it lies.
#[allow(dead_code)] // the library finds its stage by itself
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
            // SAFETY: BUSY is ours alone, and no one reads before ACTIVE.
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

/// The stage for a thread that comes while another one is finding it.
fn late(find: impl FnOnce() -> Result<Stage, Inert>) -> Option<&'static Stage> {
    let known = LATE.load(Ordering::Acquire);
    if known.is_null() {
        let found = find().ok()?;
        let mine = sys::memory(size_of::<Stage>()).ok()?.cast::<Stage>();
        // SAFETY: new memory, page-aligned and long enough, which nobody else knows yet.
        unsafe { mine.write(found) };
        // Who comes second uses the first one's; what it found itself stays mapped, unused.
        let _ = LATE.compare_exchange(known, mine, Ordering::AcqRel, Ordering::Acquire);
    }
    // SAFETY: it is null or was filled before it was published; nobody writes or unmaps it again.
    unsafe { LATE.load(Ordering::Acquire).as_ref() }
}

/// Turns the shim off for the rest of the process.
#[allow(dead_code)] // for the trampoline
pub fn turn_off() {
    STATE.store(Inert::OtherRoot as u8, Ordering::Release);
}

/// Why there is no stage: the number of an [`Inert`], or a smaller one.
pub fn why_inert() -> u8 {
    STATE.load(Ordering::Acquire)
}

/// The same after chroot, when no path means what the index says, but not for the parent of a vfork child.
pub fn root_changed() {
    ROOTED[0].store(sys::pid(), Ordering::Release);
    ROOTED[1].store(sys::parent(), Ordering::Release);
    let _ = STATE.compare_exchange(ACTIVE, MOVED, Ordering::AcqRel, Ordering::Relaxed);
}
