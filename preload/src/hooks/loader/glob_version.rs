//! Tells which of libc's two versions of glob a caller was linked with.
//!
//! glibc 2.27 changed glob under a new symbol version and kept the older version. The hook has no version, so callers
//! of both versions reach it, and the loader does not tell which one a caller wants. So the hook looks into the
//! caller's string table: the table of an object that was linked with the newer glob contains the version name
//! `GLIBC_2.27`. An object that does not import glob (a foreign-function library, for example) got glob's address from
//! dlsym, which gives the newer version.

use core::ffi::{CStr, c_int, c_void};
use core::slice;

use libc::{dl_phdr_info, size_t};

use crate::hooks::loader::dl::dl_iterate_phdr;
use crate::libc_calls::lazy_libc;

const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;

/// A search for the object that contains an address.
struct Search {
    address: usize,
    older: bool,
}

/// Whether the code at `address` was linked with the older glob although libc has both.
pub fn linked_with_older_glob(address: *const c_void) -> bool {
    // SAFETY: the function takes no arguments and returns a constant string or null.
    let version = unsafe { lazy_libc::gnu_get_libc_version() };
    if version.is_null() {
        return false;
    }
    // SAFETY: the version is a C string.
    let version = unsafe { CStr::from_ptr(version) }.to_bytes();
    let minor = version.strip_prefix(b"2.").and_then(|minor| core::str::from_utf8(minor).ok());
    if minor.and_then(|minor| minor.parse().ok()).unwrap_or(0u32) < 27 {
        return false;
    }
    let mut search = Search { address: address.addr(), older: false };
    // SAFETY: `each` gets the `Search` it expects, which outlives the iteration.
    unsafe { dl_iterate_phdr::real()(Some(each), (&raw mut search).cast()) };
    search.older
}

/// Callback of dl_iterate_phdr. Ends the iteration at the object that contains the address.
///
/// # Safety
/// `info` must be the loader's, and `search` a [`Search`].
unsafe extern "C" fn each(info: *mut dl_phdr_info, _: size_t, search: *mut c_void) -> c_int {
    // SAFETY: `info` is the loader's description of an object, whose program headers are mapped. The caller guarantees
    // `search`.
    let (base, headers, search) = unsafe {
        let info = &*info;
        let headers = slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        (info.dlpi_addr as usize, headers, &mut *search.cast::<Search>())
    };
    let within = headers.iter().filter(|h| h.p_type == libc::PT_LOAD).any(|h| {
        let start = base.wrapping_add(h.p_vaddr as usize);
        search.address.wrapping_sub(start) < h.p_memsz as usize
    });
    if !within {
        return 0;
    }
    let dynamic = headers.iter().find(|h| h.p_type == libc::PT_DYNAMIC);
    let (mut strings, mut size) = (0, 0);
    if let Some(h) = dynamic {
        let mut at =
            core::ptr::with_exposed_provenance::<[u64; 2]>(base.wrapping_add(h.p_vaddr as usize));
        // SAFETY: an object's dynamic section ends with DT_NULL.
        while let [tag, value] = unsafe { *at }
            && tag != DT_NULL
        {
            match tag {
                DT_STRTAB => strings = value as usize,
                DT_STRSZ => size = value as usize,
                _ => {}
            }
            // SAFETY: the entry was not the last one.
            at = unsafe { at.add(1) };
        }
    }
    // The loader has added the base, except where the section is read-only.
    if strings < base {
        strings = strings.wrapping_add(base);
    }
    if strings != 0 {
        // SAFETY: this is the object's string table, and DT_STRSZ is its size.
        let strings = unsafe {
            slice::from_raw_parts(core::ptr::with_exposed_provenance::<u8>(strings), size)
        };
        let names = |name: &[u8]| strings.windows(name.len()).any(|w| w == name);
        search.older = (names(b"glob\0") || names(b"glob64\0")) && !names(b"GLIBC_2.27\0");
    }
    1
}
