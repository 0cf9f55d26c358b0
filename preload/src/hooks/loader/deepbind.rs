//! Libraries that are loaded with RTLD_DEEPBIND: they look for their symbols in themselves and the libraries that they
//! need before the program's, and so would find libc's functions before the hooks.
//!
//! The flag is kept, because such a library may need it. But what it looks in is that of the object that was loaded,
//! and of the libraries which that object needs, in this order. So the loader is given a small object, made in memory,
//! that needs the library and then this one: the library's own symbols come first, then the hooks, then those of the
//! libraries that it needs. All symbols are bound at once, and the small object is closed.
//!
//! The loader looks for the library along the search path of the small object, which is therefore that of the caller
//! ([`crate::hooks::loader::caller_path`]).

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::ptr;

use pyshm_core::base::text::{decimal, join};
use pyshm_core::base::{link_map, sys};
use pyshm_core::stage::current::stage;

use crate::hooks::loader::caller_path::{CallerPath, Tag};
use crate::hooks::loader::real;
use crate::libc_calls::lazy_libc;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

/// Loads a library with RTLD_DEEPBIND into a namespace. `None` if the real function has to: for another mode, for a
/// library that the caller only asks about, and where this fails, so that the reason is the loader's own.
///
/// # Safety
/// As dlmopen, called from the address `caller`.
pub(super) unsafe fn load(
    space: c_long,
    path: *const c_char,
    mode: c_int,
    caller: *const c_void,
) -> Option<*mut c_void> {
    if mode & libc::RTLD_DEEPBIND == 0 || mode & libc::RTLD_NOLOAD != 0 || path.is_null() {
        return None;
    }
    stage()?;
    let own = link_map::own_file()?;
    // SAFETY: the caller guarantees a C string.
    let library = unsafe { CStr::from_ptr(path) };
    // `$ORIGIN` would be the small object's.
    if library.is_empty() || library.to_bytes().contains(&b'$') {
        return None;
    }
    let errno = sys::errno();
    let path_of_caller = if library.to_bytes().contains(&b'/') {
        CallerPath::NONE
    } else {
        // SAFETY: the caller guarantees an address in a loaded object.
        unsafe { CallerPath::of(caller) }?
    };
    let fd = object(library, own, &path_of_caller).ok()?;
    let mut name = [0; 32];
    let digits = &mut [0; 10];
    let named = join(&mut name, &[b"/proc/self/fd/", decimal(fd.unsigned_abs(), digits), b"\0"]);
    let at_once = libc::RTLD_NOW | libc::RTLD_DEEPBIND | mode & libc::RTLD_GLOBAL;
    // SAFETY: a C string; then the caller's own arguments, for a library that is loaded now.
    let handle = unsafe {
        let object = real::load(space, name.as_ptr().cast(), at_once);
        if named.is_none() || object.is_null() {
            ptr::null_mut()
        } else {
            let handle = real::load(space, path, mode);
            lazy_libc::dlclose(object);
            handle
        }
    };
    sys::close(fd);
    sys::set_errno(errno);
    (!handle.is_null()).then_some(handle)
}

/// Makes the small object, which searches for the library as `caller` says; its descriptor.
fn object(library: &CStr, own: &CStr, caller: &CallerPath) -> sys::Result<c_int> {
    const HEADERS: usize = 64 + 3 * 56;
    const DYNAMIC: usize = 9 * 16;
    const STRINGS: usize = HEADERS + DYNAMIC + 24;
    let (library, own) = (library.to_bytes_with_nul(), own.to_bytes_with_nul());
    let dirs = caller.dirs.all();
    let tag = match caller.tag {
        _ if dirs.is_empty() => DT_NULL,
        Tag::Rpath => DT_RPATH,
        Tag::Runpath => DT_RUNPATH,
    };
    // The strings begin with an empty one. The last one ends with the file's padding.
    let (first, second) = (1, 1 + library.len());
    let third = second + own.len();
    let strings = third + dirs.len() + 1;
    let total = (STRINGS + strings) as u64;
    let mut head = [0u8; STRINGS + 1];
    let mut put = Put { to: &mut head, at: 0 };
    put.bytes(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // A shared object with three program headers and no sections.
    put.halves(&[3, MACHINE]);
    put.words(&[1]);
    put.longs(&[0, 64, 0]);
    put.words(&[0]);
    put.halves(&[64, 56, 3, 64, 0, 0]);
    let (readable, writable) = (4, 2);
    let mut header = |kind: u32, at: u64, len: u64, align: u64| {
        put.words(&[kind, readable | writable]);
        put.longs(&[at, at, at, len, len, align]);
    };
    header(libc::PT_LOAD, 0, total, 0x1000);
    header(libc::PT_DYNAMIC, HEADERS as u64, DYNAMIC as u64, 8);
    header(libc::PT_GNU_STACK, 0, 0, 16);
    for (tag, value) in [
        (DT_NEEDED, first as u64),
        (DT_NEEDED, second as u64),
        (DT_STRTAB, STRINGS as u64),
        (DT_STRSZ, strings as u64),
        (DT_SYMTAB, (HEADERS + DYNAMIC) as u64),
        (DT_SYMENT, 24),
        (DT_FLAGS_1, caller.flags),
        (tag, third as u64),
        (DT_NULL, 0),
    ] {
        put.longs(&[tag, value]);
    }
    // SAFETY: a C string and flags.
    let fd = unsafe {
        sys::syscall(
            libc::SYS_memfd_create,
            [c"pyshm".as_ptr() as usize, libc::MFD_CLOEXEC as usize, 0, 0, 0, 0],
        )
    }? as c_int;
    for part in [&head[..], library, own, dirs, b"\0"] {
        // SAFETY: the kernel reads the part.
        let written = unsafe {
            sys::syscall(
                libc::SYS_write,
                [fd as usize, part.as_ptr() as usize, part.len(), 0, 0, 0],
            )
        };
        if written != Ok(part.len()) {
            sys::close(fd);
            return Err(libc::ENOMEM);
        }
    }
    Ok(fd)
}

/// Writes numbers one after the other.
struct Put<'a> {
    to: &'a mut [u8],
    at: usize,
}

impl Put<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(end) = pyshm_core::base::text::put(self.to, self.at, bytes) {
            self.at = end;
        }
    }

    fn halves(&mut self, all: &[u16]) {
        all.iter().for_each(|n| self.bytes(&n.to_le_bytes()));
    }

    fn words(&mut self, all: &[u32]) {
        all.iter().for_each(|n| self.bytes(&n.to_le_bytes()));
    }

    fn longs(&mut self, all: &[u64]) {
        all.iter().for_each(|n| self.bytes(&n.to_le_bytes()));
    }
}
