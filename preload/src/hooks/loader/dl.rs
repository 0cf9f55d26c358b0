//! Hooks dlopen and related functions: loads libraries from the stage and shows the libraries under their original
//! names.
//!
//! dlopen searches for a plain name along the RUNPATH of its *caller*, which it recognises by the return address. So
//! the hooks of dlopen and dlmopen only replace the path and jump to the real function, which then still returns to the
//! caller. The new path is part of the index and outlives the call. If a library is known to be missing, the hook
//! itself calls the real function, which fails. The caller does not matter then, because the loader does not search for
//! a path with a slash.
//!
//! Known limit: `dlinfo(RTLD_DI_LINKMAP)` and `dladdr1(RTLD_DL_LINKMAP)` give the loader's own structure, whose
//! `l_name` is the staged name. The hook cannot change that name, because the loader compares it with the names of
//! libraries to load.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{AT_FDCWD, size_t};
use pyshm_core::base::scratch::{PATH_MAX, Scratch};
use pyshm_core::base::text::{at_last_slash, shift};
use pyshm_core::base::{link_map, sys};
use pyshm_core::decide::view::{Follow, Found, Want};
use pyshm_core::decide::walk::walk;
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::stage::current::stage;
use pyshm_core::stage::mapped::Stage;

static REAL_DLOPEN: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static REAL_DLMOPEN: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Finds a real function and remembers it.
fn find(real: &AtomicPtr<c_void>, name: &str) {
    if real.load(Ordering::Acquire).is_null() {
        let found = link_map::next_function(name).unwrap_or(nothing as *mut c_void);
        real.store(found, Ordering::Release);
    }
}

/// Stands in for a dlopen that no object defines. This is never called: a program that calls dlopen would not start
/// without one.
extern "C" fn nothing() -> *mut c_void {
    ptr::null_mut()
}

/// A value that stands in the place of a path and says that the real function has already been called and has failed.
/// No path lies on the first page, so the value cannot be a path.
const FAILED: *const c_char = ptr::without_provenance(1);

/// The path to load in place of `path`. If the library is missing, calls `fail` with the library's staged name and
/// returns [`FAILED`].
///
/// # Safety
/// As dlopen's first argument.
unsafe fn library(path: *const c_char, fail: impl FnOnce(*const c_char)) -> *const c_char {
    // SAFETY: the caller guarantees the path.
    unsafe {
        let Some(stage) = stage() else { return path };
        // The loader searches for a plain name, and resolves `$ORIGIN` and other tokens.
        match bytes(path) {
            Some(text) if text.contains(&b'/') && !text.contains(&b'$') && !stage.noexec => {}
            _ => return path,
        }
        read(PathArg::followed(path), Want::Program, |answer| match answer {
            // The staged file may have been removed.
            Answer::Redirect(e) => {
                let staged = e.staged().as_ptr().cast();
                if sys::faccessat(AT_FDCWD, staged, libc::R_OK, 0).is_ok() { staged } else { path }
            }
            // The loader looks for the library in the stage, where the library is missing too. So the loader fails
            // without an operation on the shared file system. The hook of dlerror translates the name in the message
            // back.
            Answer::Absent(libc::ENOENT)
                if bytes(path).is_some_and(|text| text.starts_with(b"/")) =>
            {
                let mut name = [0; PATH_MAX];
                if stage.staged_name(bytes(path).unwrap_or_default(), &mut name).is_none() {
                    return path;
                }
                fail(name.as_ptr().cast());
                FAILED
            }
            _ => path,
        })
    }
}

/// [`library`] for dlopen.
///
/// # Safety
/// As dlopen.
unsafe extern "C" fn for_dlopen(path: *const c_char, mode: c_int) -> *const c_char {
    type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
    find(&REAL_DLOPEN, "dlopen");
    // SAFETY: the caller guarantees the path, and the real function was found above.
    unsafe {
        library(path, |missing| {
            let real =
                core::mem::transmute::<*mut c_void, Dlopen>(REAL_DLOPEN.load(Ordering::Acquire));
            real(missing, mode);
        })
    }
}

/// [`library`] for dlmopen.
///
/// # Safety
/// As dlmopen.
unsafe extern "C" fn for_dlmopen(
    path: *const c_char,
    space: libc::c_long,
    mode: c_int,
) -> *const c_char {
    type Dlmopen = unsafe extern "C" fn(libc::c_long, *const c_char, c_int) -> *mut c_void;
    find(&REAL_DLMOPEN, "dlmopen");
    // SAFETY: the caller guarantees the path, and the real function was found above.
    unsafe {
        library(path, |missing| {
            let real =
                core::mem::transmute::<*mut c_void, Dlmopen>(REAL_DLMOPEN.load(Ordering::Acquire));
            real(space, missing, mode);
        })
    }
}

/// Stands in front of libc's function of this name.
///
/// # Safety
/// As libc's function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlopen(path: *const c_char, mode: c_int) -> *mut c_void {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "push rsi", "call {route}", "pop rsi",
        "cmp rax, 1", "je 2f",
        "mov rdi, rax", "mov rax, [rip + {real}]", "jmp rax",
        "2:", "xor eax, eax", "ret",
        route = sym for_dlopen, real = sym REAL_DLOPEN
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-32]!", "mov x29, sp", "str x1, [sp, #16]",
        "bl {route}",
        "ldr x1, [sp, #16]", "ldp x29, x30, [sp], #32",
        "cmp x0, #1", "b.ne 2f", "mov x0, xzr", "ret", "2:",
        "adrp x16, {real}", "ldr x16, [x16, :lo12:{real}]", "br x16",
        route = sym for_dlopen, real = sym REAL_DLOPEN
    );
}

/// Stands in front of libc's function of this name.
///
/// # Safety
/// As libc's function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmopen(
    space: libc::c_long,
    path: *const c_char,
    mode: c_int,
) -> *mut c_void {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "push rdi", "push rdx", "sub rsp, 8",
        "xchg rdi, rsi", "call {route}",
        "add rsp, 8", "pop rdx", "pop rdi",
        "cmp rax, 1", "je 2f",
        "mov rsi, rax", "mov rax, [rip + {real}]", "jmp rax",
        "2:", "xor eax, eax", "ret",
        route = sym for_dlmopen, real = sym REAL_DLMOPEN
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-32]!", "mov x29, sp", "stp x0, x2, [sp, #16]",
        "mov x9, x0", "mov x0, x1", "mov x1, x9",
        "bl {route}",
        "mov x1, x0", "ldp x0, x2, [sp, #16]", "ldp x29, x30, [sp], #32",
        "cmp x1, #1", "b.ne 2f", "mov x0, xzr", "ret", "2:",
        "adrp x16, {real}", "ldr x16, [x16, :lo12:{real}]", "br x16",
        route = sym for_dlmopen, real = sym REAL_DLMOPEN
    );
}

/// The original name for a staged name. The original name is the tail of the same string, or the index's own spelling
/// if the name contains the `..` of a RUNPATH.
///
/// # Safety
/// `name` must be null or a C string.
unsafe fn original(stage: &Stage, name: *const c_char) -> *const c_char {
    let dir = stage.dir();
    if name.is_null() {
        return name;
    }
    // The first bytes rule out most names without computing the string's length.
    for (i, &b) in dir.iter().enumerate() {
        // SAFETY: no byte before this one was NUL.
        if unsafe { *name.add(i) } as u8 != b {
            return name;
        }
    }
    // SAFETY: the caller guarantees a C string.
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    let Some(tail) = stage.original(text) else { return name };
    if tail.windows(3).any(|w| w == b"/..")
        && let Some(clean) = clean(stage, tail)
    {
        return clean;
    }
    tail.as_ptr().cast()
}

/// The index's spelling of a path.
#[inline(never)]
fn clean(stage: &Stage, path: &[u8]) -> Option<*const c_char> {
    match walk(&stage.view, path, Follow::No, &mut Scratch::zeroed()).found {
        Found::Entry(e) => Some(e.path().as_ptr().cast()),
        _ => None,
    }
}

type Callback = Option<unsafe extern "C" fn(*mut libc::dl_phdr_info, size_t, *mut c_void) -> c_int>;

/// The state of one call of dl_iterate_phdr.
struct Call {
    callback: Callback,
    data: *mut c_void,
    stage: Option<&'static Stage>,
    /// The loader's description of this library, and its size in bytes.
    own: Option<(libc::dl_phdr_info, size_t)>,
}

impl Call {
    /// Calls the caller's callback with the description of an object.
    ///
    /// # Safety
    /// `info` must be the loader's.
    unsafe fn tell(&self, mut info: libc::dl_phdr_info, size: size_t) -> c_int {
        let Some(callback) = self.callback else { return 0 };
        // SAFETY: `info` is the loader's description, and the callback is the caller's own.
        unsafe {
            if let Some(stage) = self.stage {
                info.dlpi_name = original(stage, info.dlpi_name);
            }
            callback(&raw mut info, size, self.data)
        }
    }
}

/// Callback of dl_iterate_phdr. Skips this library, which [`iterate`] shows last. A program that was built with
/// AddressSanitizer looks only at the first library, and ends itself if that library is not the sanitizer's.
///
/// # Safety
/// `info` must be the loader's, and `call` a [`Call`].
unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, size: size_t, call: *mut c_void) -> c_int {
    // SAFETY: `call` is the `Call` on the stack of `iterate`. `info` is the loader's and is only read.
    unsafe {
        let call = &mut *call.cast::<Call>();
        // A newer loader's structure is longer than the one known here, so it goes to the callback unchanged. An older
        // loader's structure is shorter, and `size` tells the callback so.
        if size > size_of::<libc::dl_phdr_info>() {
            return call.callback.map_or(0, |callback| callback(info, size, call.data));
        }
        if link_map::own_file().is_some_and(|own| ptr::eq(own.as_ptr(), (*info).dlpi_name)) {
            call.own = Some((*info, size));
            return 0;
        }
        call.tell(*info, size)
    }
}

/// Whether a library's search path was edited in the stage, where `$ORIGIN/..` replaces an absolute directory.
///
/// # Safety
/// As dlinfo.
unsafe fn edited(stage: &Stage, handle: *mut c_void) -> bool {
    let mut object: *const LoadedObject = ptr::null();
    // SAFETY: the caller guarantees the handle. The loader's description begins as `LoadedObject`, and its name is null
    // or a C string.
    unsafe {
        let asked: c_int = dlinfo::real()(handle, RTLD_DI_LINKMAP, (&raw mut object).cast());
        if asked != 0 || object.is_null() || (*object).name.is_null() {
            return false;
        }
        let name = CStr::from_ptr((*object).name).to_bytes();
        stage.original(name).is_some_and(|path| is_edited(stage, path))
    }
}

/// Whether the index says that the search paths of the file at this path were edited.
#[inline(never)]
fn is_edited(stage: &Stage, path: &[u8]) -> bool {
    let walked = walk(&stage.view, path, Follow::No, &mut Scratch::zeroed());
    matches!(walked.found, Found::Entry(e) if e.pristine() != e.staged())
}

/// Removes `..` from an absolute path that ends with a NUL, by its spelling alone, in place.
fn collapse(path: &mut [u8]) {
    let end = path.iter().position(|&b| b == 0).unwrap_or(0);
    let (mut to, mut from) = (0, 0);
    while from < end {
        let rest = path.get(from + 1..end).unwrap_or_default();
        let next = from + 1 + rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        if path.get(from..next) == Some(b"/..") {
            to = path.get(..to).and_then(at_last_slash).map_or(0, |(parent, _)| parent.len());
        } else {
            to = shift(path, from..next, to).unwrap_or(to);
        }
        from = next;
    }
    if let Some(nul) = path.get_mut(to) {
        *nul = 0;
    }
}

/// The beginning of the loader's description of an object.
#[repr(C)]
struct LoadedObject {
    base: usize,
    name: *const c_char,
}

const RTLD_DI_LINKMAP: c_int = 2;
const RTLD_DI_SERINFO: c_int = 4;
const RTLD_DI_ORIGIN: c_int = 6;

/// `Dl_serinfo`: the directories in which the loader searches, in the caller's buffer.
#[repr(C)]
struct SearchPath {
    size: size_t,
    count: c_uint,
    dirs: [SearchDir; 0],
}

/// `Dl_serpath`.
#[repr(C)]
struct SearchDir {
    name: *const c_char,
    flags: c_uint,
}

/// Calls `callback` for every object with its original name.
///
/// # Safety
/// As dl_iterate_phdr.
unsafe fn iterate(
    callback: Callback,
    data: *mut c_void,
    real: impl FnOnce(Callback, *mut c_void) -> c_int,
) -> c_int {
    let mut call = Call { callback, data, stage: stage(), own: None };
    match (real(Some(each), (&raw mut call).cast()), call.own) {
        // SAFETY: this is the loader's description of this library. It stays valid after the loader's lock is released,
        // because this library is never unloaded.
        (0, Some((own, size))) => unsafe { call.tell(own, size) },
        (r, _) => r,
    }
}

/// Shows the original name in the result of dladdr.
///
/// # Safety
/// `info` must be filled if `r` is not 0.
unsafe fn named(info: *mut libc::Dl_info, r: c_int) -> c_int {
    if r != 0
        && let Some(stage) = stage()
    {
        // SAFETY: the caller guarantees a filled structure.
        unsafe { (*info).dli_fname = original(stage, (*info).dli_fname) };
    }
    r
}

/// Shows original names in the result of dlinfo.
///
/// # Safety
/// As dlinfo, whose result is `r`.
unsafe fn informed(handle: *mut c_void, request: c_int, to: *mut c_void, r: c_int) -> c_int {
    if r != 0 {
        return r;
    }
    let Some(stage) = stage() else { return r };
    match request {
        // SAFETY: the result is a C string in the caller's buffer.
        RTLD_DI_ORIGIN => unsafe {
            let text = CStr::from_ptr(to.cast()).to_bytes();
            if let Some(tail) = stage.original(text) {
                ptr::copy(tail.as_ptr(), to.cast(), tail.len() + 1);
            }
        },
        // SAFETY: the result is a list of `count` C strings in the caller's buffer.
        RTLD_DI_SERINFO => unsafe {
            let edited = edited(stage, handle);
            let dirs = &raw mut (*to.cast::<SearchPath>()).dirs;
            for i in 0..(*to.cast::<SearchPath>()).count as usize {
                let dir = dirs.cast::<SearchDir>().add(i);
                let text = CStr::from_ptr((*dir).name).to_bytes();
                let Some(tail) = stage.original(text) else { continue };
                (*dir).name = tail.as_ptr().cast();
                if edited {
                    let text = (*dir).name.cast_mut().cast::<u8>();
                    collapse(core::slice::from_raw_parts_mut(text, tail.len() + 1));
                }
            }
        },
        _ => {}
    }
    r
}

/// Shows original names in the message of dlerror.
///
/// # Safety
/// `message` must be null or the result of dlerror.
unsafe fn shown(message: *mut c_char) -> *mut c_char {
    if !message.is_null()
        && let Some(stage) = stage()
    {
        // SAFETY: the caller guarantees that the message belongs to the calling thread.
        unsafe { shorten(stage, message) };
    }
    message
}

hooks! {
    fn dl_iterate_phdr(callback: Callback, data: *mut c_void) -> c_int = |real| iterate(callback, data, real);
    fn dladdr(address: *const c_void, info: *mut libc::Dl_info) -> c_int = |real| named(info, real(address, info));
    fn dladdr1(address: *const c_void, info: *mut libc::Dl_info, extra: *mut *mut c_void, flags: c_int) -> c_int
        = |real| named(info, real(address, info, extra, flags));
    fn dlinfo(handle: *mut c_void, request: c_int, to: *mut c_void) -> c_int
        = |real| informed(handle, request, to, real(handle, request, to));
    fn dlerror() -> *mut c_char = |real| shown(real());
}

/// Removes `<stage>/fs` from a message, in place. libc formats a message with a path into memory of the calling thread,
/// which it frees at the next dlerror. A constant message contains no path.
///
/// # Safety
/// `message` must be a C string, writable where it contains the stage's directory.
unsafe fn shorten(stage: &Stage, message: *mut c_char) {
    let fs = stage.dir().len() + b"/fs".len();
    let mut from = 0;
    loop {
        // SAFETY: the caller guarantees a C string, and `from` stays within it.
        let text = unsafe { CStr::from_ptr(message.add(from)) }.to_bytes();
        let staged = |at: &usize| -> bool {
            let below = text.get(*at..).and_then(|tail| tail.strip_prefix(stage.dir()));
            below.is_some_and(|below| below.starts_with(b"/fs"))
        };
        let Some(at) = (0..text.len()).find(staged) else { return };
        // SAFETY: the tail and its NUL move down within the message.
        unsafe {
            let to = message.add(from + at);
            ptr::copy(to.add(fs), to, text.len() - at - fs + 1);
        }
        from += at;
    }
}
