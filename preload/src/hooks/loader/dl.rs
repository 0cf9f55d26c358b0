//! The dynamic loader: libraries are loaded from the stage and shown under their original names.
//!
//! dlopen looks a plain name up through the RUNPATH of its *caller*, which it knows by its return address. So the
//! hooks of dlopen and dlmopen only exchange the path and jump on: the caller stays the caller. The exchanged path
//! lives in the index and outlives the call. Only the failure for a library that is known to be missing is made
//! here: a path with a slash is not searched for, so that the caller does not matter.
//!
//! Known limit: `dlinfo(RTLD_DI_LINKMAP)` and `dladdr1(RTLD_DL_LINKMAP)` give the loader's own structure, whose `l_name` is
//! the staged name. It cannot be changed: the loader compares it with what is to be loaded.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{AT_FDCWD, size_t};

use pyshm_core::base::link_map;
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::scratch::Scratch;
use pyshm_core::base::sys;
use pyshm_core::base::text::at_last_slash;
use pyshm_core::base::text::shift;
use pyshm_core::decide::view::Found;
use pyshm_core::decide::view::Want;
use pyshm_core::decide::walk::walk;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::path::resolve::bytes;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::mapped::Stage;

static REAL_DLOPEN: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static REAL_DLMOPEN: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

fn find(real: &AtomicPtr<c_void>, name: &str) {
    if real.load(Ordering::Acquire).is_null() {
        let found = link_map::next_function(name).unwrap_or(nothing as *mut c_void);
        real.store(found, Ordering::Release);
    }
}

/// In place of a dlopen that no object defines, which a program that calls it makes impossible.
extern "C" fn nothing() -> *mut c_void {
    ptr::null_mut()
}

/// In place of a path: the real function was called already and has failed. No path lies on the first page.
const FAILED: *const c_char = ptr::without_provenance(1);

/// The path to load in place of `path`; or [`FAILED`] after `fail` was called with the name of a missing library.
///
/// # Safety
/// As dlopen's first argument.
unsafe fn library(path: *const c_char, fail: impl FnOnce(*const c_char)) -> *const c_char {
    // SAFETY: by the caller's word.
    unsafe {
        let Some(stage) = stage() else { return path };
        // A plain name is searched for by the loader; `$ORIGIN` and its like are its own too.
        match bytes(path) {
            Some(text) if text.contains(&b'/') && !text.contains(&b'$') && !stage.noexec => {}
            _ => return path,
        }
        ask(AT_FDCWD, path, true, Want::Program, |answer| match answer {
            // The staged file may have been removed.
            Answer::Redirect(e) => {
                let staged = e.staged().as_ptr().cast();
                if sys::faccessat(AT_FDCWD, staged, libc::R_OK, 0).is_ok() { staged } else { path }
            }
            // The loader fails by itself, and says so under the original name, without a look at the original: below
            // the stage the name is as missing. dlerror translates it back.
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

/// # Safety
/// As dlopen.
unsafe extern "C" fn for_dlopen(path: *const c_char, mode: c_int) -> *const c_char {
    type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
    find(&REAL_DLOPEN, "dlopen");
    // SAFETY: by the caller's word; the real function was found above.
    unsafe {
        library(path, |missing| {
            let real =
                core::mem::transmute::<*mut c_void, Dlopen>(REAL_DLOPEN.load(Ordering::Acquire));
            real(missing, mode);
        })
    }
}

/// # Safety
/// As dlmopen.
unsafe extern "C" fn for_dlmopen(
    path: *const c_char,
    space: libc::c_long,
    mode: c_int,
) -> *const c_char {
    type Dlmopen = unsafe extern "C" fn(libc::c_long, *const c_char, c_int) -> *mut c_void;
    find(&REAL_DLMOPEN, "dlmopen");
    // SAFETY: by the caller's word; the real function was found above.
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
/// As libc's.
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
/// As libc's.
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

/// The original name in place of a staged one: the tail of the same string, or where a RUNPATH's `..` stands in it
/// the index's own spelling.
///
/// # Safety
/// `name` must be null or a C string.
unsafe fn original(stage: &Stage, name: *const c_char) -> *const c_char {
    let dir = stage.dir();
    if name.is_null() {
        return name;
    }
    // Most names are not staged: the first bytes tell, without the string's length.
    for (i, &b) in dir.iter().enumerate() {
        // SAFETY: every byte before this one was not NUL.
        if unsafe { *name.add(i) } as u8 != b {
            return name;
        }
    }
    // SAFETY: by the caller's word.
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    let Some(tail) = stage.original(text) else { return name };
    if tail.windows(3).any(|w| w == b"/..")
        && let Some(clean) = clean(stage, tail)
    {
        return clean;
    }
    tail.as_ptr().cast()
}

#[inline(never)]
fn clean(stage: &Stage, path: &[u8]) -> Option<*const c_char> {
    match walk(&stage.view, path, false, &mut Scratch::new()).found {
        Found::Entry(e) => Some(e.path().as_ptr().cast()),
        _ => None,
    }
}

type Callback = Option<unsafe extern "C" fn(*mut libc::dl_phdr_info, size_t, *mut c_void) -> c_int>;

/// What [`each`] needs of the caller of dl_iterate_phdr.
struct Call {
    callback: Callback,
    data: *mut c_void,
    stage: Option<&'static Stage>,
    /// What the loader says of this library, and how long that is.
    own: Option<(libc::dl_phdr_info, size_t)>,
}

impl Call {
    /// # Safety
    /// `info` must be the loader's.
    unsafe fn tell(&self, mut info: libc::dl_phdr_info, size: size_t) -> c_int {
        let Some(callback) = self.callback else { return 0 };
        // SAFETY: by the caller's word, and the caller's own callback.
        unsafe {
            if let Some(stage) = self.stage {
                info.dlpi_name = original(stage, info.dlpi_name);
            }
            callback(&raw mut info, size, self.data)
        }
    }
}

/// # Safety
/// As a callback of dl_iterate_phdr whose data is a [`Call`]. This library is left for the end: programs that were built with
/// AddressSanitizer look at the first library only, and end themselves if that is not the sanitizer's.
unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, size: size_t, call: *mut c_void) -> c_int {
    // SAFETY: `call` is the `Call` on the stack of our dl_iterate_phdr; `info` is the loader's, for reading.
    unsafe {
        let call = &mut *call.cast::<Call>();
        // An older loader's structure is shorter than ours; `size` says so to the callback as well.
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

/// Whether a library has another search path in the stage than the original: `$ORIGIN/..` in an absolute one's place.
///
/// # Safety
/// As dlinfo.
unsafe fn edited(stage: &Stage, handle: *mut c_void) -> bool {
    let mut object: *const LoadedObject = ptr::null();
    // SAFETY: by the caller's word; the loader's description begins so, and its name is null or a C string.
    unsafe {
        let asked: c_int = real!(dlinfo)(handle, RTLD_DI_LINKMAP, (&raw mut object).cast());
        if asked != 0 || object.is_null() || (*object).name.is_null() {
            return false;
        }
        let name = CStr::from_ptr((*object).name).to_bytes();
        stage.original(name).is_some_and(|path| is_edited(stage, path))
    }
}

#[inline(never)]
fn is_edited(stage: &Stage, path: &[u8]) -> bool {
    let walked = walk(&stage.view, path, false, &mut Scratch::new());
    matches!(walked.found, Found::Entry(e) if e.pristine() != e.staged())
}

/// Takes `..` out of an absolute path that ends with a NUL, by its spelling alone, in place.
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

hooks! {
    unsafe fn dl_iterate_phdr(callback: Callback, data: *mut c_void) -> c_int => my_dl_iterate_phdr {
        let mut call = Call { callback, data, stage: stage(), own: None };
        // SAFETY: `each` gets the `Call` it expects, which outlives the iteration. This library is never unloaded, so what the
        // loader said of it holds when the loader's lock is no longer held.
        unsafe {
            match (real!(dl_iterate_phdr)(Some(each), (&raw mut call).cast()), call.own) {
                (0, Some((own, size))) => call.tell(own, size),
                (r, _) => r,
            }
        }
    }
    unsafe fn dladdr(address: *const c_void, info: *mut libc::Dl_info) -> c_int => my_dladdr {
        // SAFETY: the caller's own arguments; the result is filled where it is not 0.
        unsafe {
            let r: c_int = real!(dladdr)(address, info);
            if r != 0 && let Some(stage) = stage() {
                (*info).dli_fname = original(stage, (*info).dli_fname);
            }
            r
        }
    }
    unsafe fn dladdr1(address: *const c_void, info: *mut libc::Dl_info, extra: *mut *mut c_void, flags: c_int) -> c_int => my_dladdr1 {
        // SAFETY: as above.
        unsafe {
            let r: c_int = real!(dladdr1)(address, info, extra, flags);
            if r != 0 && let Some(stage) = stage() {
                (*info).dli_fname = original(stage, (*info).dli_fname);
            }
            r
        }
    }
    unsafe fn dlinfo(handle: *mut c_void, request: c_int, to: *mut c_void) -> c_int => my_dlinfo {
        // SAFETY: the caller's own arguments; for these requests the result is C strings in the caller's buffer.
        unsafe {
            let r: c_int = real!(dlinfo)(handle, request, to);
            if r == 0 && let Some(stage) = stage() {
                match request {
                    RTLD_DI_ORIGIN => {
                        let text = CStr::from_ptr(to.cast()).to_bytes();
                        if let Some(tail) = stage.original(text) {
                            ptr::copy(tail.as_ptr(), to.cast(), tail.len() + 1);
                        }
                    }
                    RTLD_DI_SERINFO => {
                        let edited = edited(stage, handle);
                        let dirs = &raw mut (*to.cast::<SearchPath>()).dirs;
                        for i in 0..(*to.cast::<SearchPath>()).count as usize {
                            let dir = dirs.cast::<SearchDir>().add(i);
                            let text = CStr::from_ptr((*dir).name).to_bytes();
                            if let Some(tail) = stage.original(text) {
                                (*dir).name = tail.as_ptr().cast();
                                if edited {
                                    let text = (*dir).name.cast_mut().cast::<u8>();
                                    let text = core::slice::from_raw_parts_mut(text, tail.len() + 1);
                                    collapse(text);
                                }
                            }
                        }
                    }
                    _ => {}
                }
            }
            r
        }
    }
    unsafe fn dlerror() -> *mut c_char => my_dlerror {
        // SAFETY: the result is null or the calling thread's own message.
        unsafe {
            let message: *mut c_char = real!(dlerror)();
            if !message.is_null() && let Some(stage) = stage() {
                shorten(stage, message);
            }
            message
        }
    }
}

/// Takes `<stage>/fs` out of a message, in place. A message that contains a path was formatted into memory of the
/// calling thread's, which libc frees at its next dlerror; constant messages contain none.
///
/// # Safety
/// `message` must be a C string, writable where it contains the stage's directory.
unsafe fn shorten(stage: &Stage, message: *mut c_char) {
    let fs = stage.dir().len() + b"/fs".len();
    let mut from = 0;
    loop {
        // SAFETY: by the caller's word; `from` stays within the message.
        let text = unsafe { CStr::from_ptr(message.add(from)) }.to_bytes();
        let staged = |at: &usize| -> bool {
            let below = text.get(*at..).and_then(|tail| tail.strip_prefix(stage.dir()));
            below.is_some_and(|below| below.starts_with(b"/fs"))
        };
        let Some(at) = (0..text.len()).find(staged) else { return };
        // SAFETY: moves the tail and its NUL down within the message.
        unsafe {
            let to = message.add(from + at);
            ptr::copy(to.add(fs), to, text.len() - at - fs + 1);
        }
        from += at;
    }
}
