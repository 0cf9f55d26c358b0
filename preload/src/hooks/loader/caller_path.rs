//! Where the loader searches for a library on behalf of the object that calls dlopen: what another object has to say in
//! its dynamic section so that the loader searches for it in the same places and order.
//!
//! The loader searches DT_RPATH, LD_LIBRARY_PATH, DT_RUNPATH, its cache and the default directories, in this order. An
//! object with DT_RUNPATH has no DT_RPATH for the loader; others also use those of the objects that need them. dlinfo lists the
//! directories in this order, with their names filled in, and says of none why it is searched. But the list ends with what
//! the program's own list has too (LD_LIBRARY_PATH and the default directories), which any object gets. The rest is the
//! object's own.

use core::ffi::{CStr, c_int, c_void};
use core::mem::{MaybeUninit, size_of};
use core::ptr;

use pyshm_core::base::link_map::{self, Searches};

use crate::hooks::loader::names::{RTLD_DI_SERINFO, SearchDir, SearchPath, dladdr1, dlinfo};
use crate::libc_calls::heap::{self, Array};

const RTLD_DI_SERINFOSIZE: c_int = 5;
const RTLD_DL_LINKMAP: c_int = 2;
/// Flag of an object that does not search the default directories.
const DF_1_NODEFLIB: u64 = 0x800;

/// How an object names its directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// By DT_RPATH.
    Rpath,
    /// By DT_RUNPATH.
    Runpath,
}

/// The search path of the object that calls.
pub(super) struct CallerPath {
    /// How it is given.
    pub tag: Tag,
    /// DT_FLAGS_1, as far as it concerns the search.
    pub flags: u64,
    /// Directories with colons between them.
    pub dirs: Array<u8>,
}

impl CallerPath {
    /// That of an object that is not asked for a search.
    pub(super) const NONE: Self = Self { tag: Tag::Rpath, flags: 0, dirs: Array::new() };

    /// The search path of the object that contains the address `caller`. `None` without memory, or if the loader does not
    /// tell.
    ///
    /// # Safety
    /// If `caller` lies in a loaded object, that must stay loaded meanwhile.
    pub(super) unsafe fn of(caller: *const c_void) -> Option<Self> {
        let mut info = MaybeUninit::<libc::Dl_info>::uninit();
        let mut object: *mut c_void = ptr::null_mut();
        // SAFETY: dladdr1 only compares the address, and fills both if it returns 1.
        let found =
            unsafe { dladdr1::real()(caller, info.as_mut_ptr(), &raw mut object, RTLD_DL_LINKMAP) };
        // The loader takes code that belongs to no object for the program's.
        let object = if found == 0 || object.is_null() { link_map::program()? } else { object };
        // SAFETY: the loader's description of a loaded object.
        let Searches { runpath, flags } = unsafe { link_map::searches(object) };
        let (tag, flags) = (if runpath { Tag::Runpath } else { Tag::Rpath }, flags & DF_1_NODEFLIB);
        let mut dirs = Array::new();
        let all = List::of(object)?;
        let Common { list, rpath } = Common::find()?;
        let most = if runpath { list.len() - rpath } else { list.len() }.min(all.len());
        let common = (1..=most).take_while(|&n| all.last(n) == list.last(n)).count();
        let own = all.len() - common;
        for dir in (0..own).filter_map(|n| all.get(n)) {
            if dirs.len() > 0 {
                dirs.push(b':')?;
            }
            dirs.extend(dir)?;
        }
        Some(Self { tag, flags, dirs })
    }
}

/// What the lists of all objects end with.
struct Common {
    /// The program's list. If the program has a DT_RUNPATH, or leaves out the default directories, that of this library,
    /// which then has nothing of its own.
    list: List,
    /// With how many directories of the program's DT_RPATH the list begins. They are in the lists of objects without
    /// DT_RUNPATH alone.
    rpath: usize,
}

impl Common {
    fn find() -> Option<Self> {
        let program = link_map::program()?;
        // SAFETY: the loader's description of the program.
        let Searches { runpath, flags } = unsafe { link_map::searches(program) };
        let own = List::of(link_map::own_handle()?)?;
        if runpath || flags & DF_1_NODEFLIB != 0 {
            return Some(Self { list: own, rpath: 0 });
        }
        let list = List::of(program)?;
        // The loader adds the program's once for the program itself, and once more for any other object.
        let rpath = own.len().saturating_sub(list.len()).min(list.len());
        Some(Self { list, rpath })
    }
}

/// The directories in which the loader searches for an object.
struct List {
    found: *mut SearchPath,
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: memory of malloc's that belongs to this.
        unsafe { heap::release(self.found.cast()) };
    }
}

impl List {
    /// Asks the loader about an object.
    fn of(object: *mut c_void) -> Option<Self> {
        let mut size = SearchPath { size: 0, count: 0, dirs: [] };
        // SAFETY: the description of a loaded object is its handle. dlinfo writes into a block of the size that it asks
        // for, with the size at its start.
        unsafe {
            if dlinfo::real()(object, RTLD_DI_SERINFOSIZE, (&raw mut size).cast()) != 0 {
                return None;
            }
            let found: *mut SearchPath =
                heap::zeroed(size.size.max(size_of::<SearchPath>())).cast();
            if found.is_null() {
                return None;
            }
            let list = Self { found };
            ((*found).size, (*found).count) = (size.size, size.count);
            (dlinfo::real()(object, RTLD_DI_SERINFO, found.cast()) == 0).then_some(list)
        }
    }

    fn len(&self) -> usize {
        // SAFETY: dlinfo has filled the block.
        unsafe { (*self.found).count as usize }
    }

    fn get(&self, number: usize) -> Option<&[u8]> {
        if number >= self.len() {
            return None;
        }
        // SAFETY: dlinfo has filled as many places, and the strings lie in the same block.
        unsafe {
            let dirs = (&raw const (*self.found).dirs).cast::<SearchDir>();
            Some(CStr::from_ptr((*dirs.add(number)).name).to_bytes())
        }
    }

    /// The directory with this number from the end, where 1 is the last one.
    fn last(&self, number: usize) -> Option<&[u8]> {
        self.get(self.len().checked_sub(number)?)
    }
}
