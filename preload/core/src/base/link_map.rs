//! Reads the loader's list of objects to find this library and the functions of the objects that follow this library.
//!
//! A hook's real function is the one that the next object in the loader's order defines, as with `dlsym(RTLD_NEXT)`.
//! dlsym has two problems that reading the loader's own list avoids. First, dlsym takes the loader's lock. The loader
//! holds this lock while it runs a constructor. If the constructor waits for another thread, and that thread makes the
//! first call of a hook, the process would hang. Second, a library that is linked on a new system refers to a symbol
//! version of dlsym that older systems lack.
//!
//! Invariants:
//! - Only objects that were loaded at start-up are read. The loader never unloads such an object, so no lock is needed.
//! - Nothing here allocates or calls libc, except getauxval.
//! - musl's loader must be able to load the library too, because a site may preload the library into every program. So
//!   no loader is among the libraries that this library needs. The list of musl's loader has the same layout as glibc's
//!   list, but is found by musl's own symbol.
//!
//! Sources: gABI chapter 5 (dynamic section, symbol table), `elf.h` and `link.h` of glibc, and for DT_GNU_HASH the
//! description in `https://flapenguin.me/elf-dt-gnu-hash`.

use core::ffi::{CStr, c_char, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The public part of the loader's description of an object.
#[repr(C)]
struct Object {
    base: usize,
    name: *const c_char,
    dynamic: *const Dynamic,
    next: *const Object,
    previous: *const Object,
}

#[repr(C)]
struct Debug {
    version: i32,
    first: *const Object,
}

#[repr(C)]
struct Dynamic {
    tag: u64,
    value: usize,
}

#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: usize,
    size: usize,
}

unsafe extern "C" {
    /// The dynamic section of this library, defined by the linker.
    static _DYNAMIC: Dynamic;
}

const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERSYM: u64 = 0x6fff_fff0;
/// Flag in a symbol's version: the version is not the default version.
const HIDDEN: u16 = 0x8000;
const STT_OBJECT: u8 = 1;
const STT_TLS: u8 = 6;
const STT_GNU_IFUNC: u8 = 10;

/// The object of this library; null until it is found.
static OWN: AtomicPtr<Object> = AtomicPtr::new(ptr::null_mut());
/// The last object that was loaded at start-up.
static LAST: AtomicPtr<Object> = AtomicPtr::new(ptr::null_mut());

/// The object of this library. `None` only if the loader keeps no list.
fn own() -> Option<&'static Object> {
    let known = OWN.load(Ordering::Acquire);
    // SAFETY: objects that were loaded at start-up are never unloaded, and this library is one of them.
    unsafe { known.as_ref() }.or_else(find_own)
}

/// glibc's list of objects, kept for debuggers; null with another C library. The reference is weak, because with a
/// strong one this library would need glibc's loader, which no other loader could load. Rust has no weak references, so
/// this is assembler.
fn glibc_list() -> *const Debug {
    let list: *const Debug;
    // SAFETY: the instructions read one word of this library's own table of addresses.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!(".weak _r_debug", "mov {}, qword ptr [rip + _r_debug@GOTPCREL]", out(reg) list,
            options(pure, readonly, nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        core::arch::asm!(".weak _r_debug", "adrp {0}, :got:_r_debug", "ldr {0}, [{0}, :got_lo12:_r_debug]", out(reg) list,
            options(pure, readonly, nostack, preserves_flags));
    }
    list
}

/// Whether the program runs with glibc, whose structures the hooks know.
pub fn with_glibc() -> bool {
    !glibc_list().is_null()
}

/// The list of objects of musl's loader, which is also the C library. If a user started the loader by name, the loader
/// is also the program, and AT_BASE is 0.
#[cold]
fn musl_list() -> Option<&'static Debug> {
    // SAFETY: getauxval reads the process's own vector. An object begins with a header, which says where the object's
    // other parts are. The loader's symbol is a `struct debug *`.
    unsafe {
        let base = match libc::getauxval(libc::AT_BASE) as usize {
            0 => libc::getauxval(libc::AT_PHDR) as usize & !0xfff,
            base => base,
        };
        let header: *const libc::Elf64_Ehdr = ptr::with_exposed_provenance(base);
        let header = header.as_ref()?;
        let parts: *const libc::Elf64_Phdr =
            ptr::with_exposed_provenance(base + header.e_phoff as usize);
        let mut parts = (0..usize::from(header.e_phnum)).map(|i| &*parts.add(i));
        let dynamic = parts.find(|p| p.p_type == libc::PT_DYNAMIC)?;
        let loader = Object {
            base,
            name: ptr::null(),
            dynamic: ptr::with_exposed_provenance(base + dynamic.p_vaddr as usize),
            next: ptr::null(),
            previous: ptr::null(),
        };
        let name = "_dl_debug_addr";
        let tables = Tables::of(&loader)?;
        let symbol = tables.symbol(name, gnu_hash(name.as_bytes()), |kind| kind == STT_OBJECT)?;
        let list: *const *const Debug = ptr::with_exposed_provenance(base + symbol.value);
        (*list).as_ref()
    }
}

fn find_own() -> Option<&'static Object> {
    // SAFETY: as in `own`. The list is null-terminated, and the loader only appends to it behind this library.
    unsafe {
        let mut next = glibc_list().as_ref().or_else(musl_list)?.first;
        while let Some(object) = next.as_ref() {
            if object.dynamic == &raw const _DYNAMIC {
                OWN.store(ptr::from_ref(object).cast_mut(), Ordering::Release);
                return Some(object);
            }
            next = object.next;
        }
        None
    }
}

/// The path of this library's file, as it is in the loader's list.
pub fn own_file() -> Option<&'static CStr> {
    let name = own()?.name;
    // SAFETY: the loader's name is a C string that lives as long as the object.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })
}

/// Remembers the last loaded object. The constructor calls this before the program can load and unload other objects.
pub fn remember() {
    // `own` is not called here, because `own` first reads `OWN`. A read before the write costs one more page fault than
    // the write alone.
    let Some(mut last) = find_own() else { return };
    // SAFETY: as in `own`.
    while let Some(next) = unsafe { last.next.as_ref() } {
        last = next;
    }
    LAST.store(ptr::from_ref(last).cast_mut(), Ordering::Release);
}

/// Looks for the function `name` in the objects behind this library, in their order. Returns its address in the first
/// object that defines it.
pub fn next_function(name: &str) -> Option<*mut c_void> {
    let hash = gnu_hash(name.as_bytes());
    let last = LAST.load(Ordering::Acquire);
    let mut object = own()?;
    while !ptr::eq(object, last) {
        // SAFETY: as in `own`. The loop ends at the last object that was loaded at start-up.
        object = unsafe { object.next.as_ref() }?;
        if let Some(function) = Tables::of(object).and_then(|t| t.function(name, hash)) {
            return Some(function);
        }
    }
    None
}

/// Hash of a symbol's name in DT_GNU_HASH.
fn gnu_hash(name: &[u8]) -> u32 {
    name.iter().fold(5381, |h: u32, &b| h.wrapping_mul(33).wrapping_add(u32::from(b)))
}

/// The tables of one object that a lookup needs.
struct Tables {
    base: usize,
    hash: *const u32,
    symbols: *const Symbol,
    strings: *const c_char,
    versions: *const u16,
}

impl Tables {
    fn of(object: &Object) -> Option<Self> {
        let mut t = Self {
            base: object.base,
            hash: ptr::null(),
            symbols: ptr::null(),
            strings: ptr::null(),
            versions: ptr::null(),
        };
        // The loader adds the base in place, except where the section is read-only (the vDSO).
        let place = |value: usize| if value < object.base { value + object.base } else { value };
        let mut at = object.dynamic;
        // SAFETY: an object's dynamic section ends with DT_NULL.
        while let Some(entry) = unsafe { at.as_ref() }.filter(|e| e.tag != DT_NULL) {
            let value = place(entry.value);
            match entry.tag {
                DT_GNU_HASH => t.hash = ptr::with_exposed_provenance(value),
                DT_SYMTAB => t.symbols = ptr::with_exposed_provenance(value),
                DT_STRTAB => t.strings = ptr::with_exposed_provenance(value),
                DT_VERSYM => t.versions = ptr::with_exposed_provenance(value),
                _ => {}
            }
            // SAFETY: the entry was not the last one.
            at = unsafe { at.add(1) };
        }
        (!t.hash.is_null() && !t.symbols.is_null() && !t.strings.is_null()).then_some(t)
    }

    /// The address of the function `name`, whose [`gnu_hash`] is `hash`.
    fn function(&self, name: &str, hash: u32) -> Option<*mut c_void> {
        let symbol = self.symbol(name, hash, |kind| !matches!(kind, STT_OBJECT | STT_TLS))?;
        // SAFETY: the symbol is a function of this object.
        Some(unsafe { self.address(symbol) })
    }

    /// The symbol `name`. `None` if `fits` is false for the symbol's type.
    ///
    /// A hash table is four words (buckets, first symbol, filter words, shift), the filter's 64-bit words, the buckets,
    /// and a chain word for each symbol from the first one on. The last word of a chain has bit 0 set. The symbol and
    /// version tables have an element for each symbol of a chain.
    fn symbol(&self, name: &str, hash: u32, fits: fn(u8) -> bool) -> Option<&Symbol> {
        // SAFETY: the linker writes this layout, and the loader relies on it too.
        unsafe {
            let (buckets, first) = (*self.hash, *self.hash.add(1));
            let (words, shift) = (*self.hash.add(2), *self.hash.add(3));
            if buckets == 0 || words == 0 {
                return None;
            }
            let filter = self.hash.add(4).cast::<u64>();
            let bits = filter.add((hash / 64 % words) as usize).read_unaligned();
            if bits >> (hash % 64) & bits >> ((hash >> (shift & 31)) % 64) & 1 == 0 {
                return None;
            }
            let table = filter.add(words as usize).cast::<u32>();
            let mut number = *table.add((hash % buckets) as usize);
            if number < first {
                return None;
            }
            let chain = table.add(buckets as usize);
            loop {
                let word = *chain.add((number - first) as usize);
                if word | 1 == hash | 1 && self.is(number, name, fits) {
                    return self.symbols.add(number as usize).as_ref();
                }
                if word & 1 != 0 {
                    return None;
                }
                number += 1;
            }
        }
    }

    /// Whether the symbol with this number has this name in its default version, and `fits` is true for its type.
    ///
    /// # Safety
    /// `number` must be the number of a symbol.
    unsafe fn is(&self, number: u32, name: &str, fits: fn(u8) -> bool) -> bool {
        // SAFETY: the caller guarantees that the symbol exists; its name is a C string of the string table.
        unsafe {
            let symbol = &*self.symbols.add(number as usize);
            let hidden =
                !self.versions.is_null() && *self.versions.add(number as usize) & HIDDEN != 0;
            symbol.section != 0
                && !hidden
                && fits(symbol.info & 15)
                && CStr::from_ptr(self.strings.add(symbol.name as usize)).to_bytes()
                    == name.as_bytes()
        }
    }

    /// The address of a function. Calls the resolver of an indirect function.
    ///
    /// # Safety
    /// `symbol` must be a defined function of this object.
    unsafe fn address(&self, symbol: &Symbol) -> *mut c_void {
        let address = ptr::with_exposed_provenance_mut(self.base.wrapping_add(symbol.value));
        if symbol.info & 15 != STT_GNU_IFUNC {
            return address;
        }
        // SAFETY: the symbol's type says that its address is a resolver's. The resolver returns the function's address.
        unsafe {
            core::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> *mut c_void>(address)()
        }
    }
}
