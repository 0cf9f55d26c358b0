//! Shows libraries under their original names.
//!
//! Known limit: `dlinfo(RTLD_DI_LINKMAP)` and `dladdr1(RTLD_DL_LINKMAP)` give the loader's own structure, whose
//! `l_name` is the staged name. The hook cannot change that name, because the loader compares it with the names of
//! libraries to load.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr;
use core::slice;

use libc::size_t;
use pyshm_core::base::buffer::Buffer;
use pyshm_core::base::text::{at_last_slash, put, shift};
use pyshm_core::base::{interned, link_map};
use pyshm_core::stage::current::stage;
use pyshm_core::stage::mapped::Stage;
use pyshm_format::layout::BY_ORIGIN;

/// The original name for a staged one: the tail of the same string, or another string that lives as long, where the
/// library was found along a search path that was edited to lead from another library's directory.
///
/// # Safety
/// `name` must be null or a C string.
pub(super) unsafe fn original(stage: &Stage, name: *const c_char) -> *const c_char {
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
    if may_be_by_origin(tail)
        && let Some(clean) = clean(stage, tail)
    {
        return clean;
    }
    tail.as_ptr().cast()
}

/// Whether a path contains what edited search paths do.
pub(super) fn may_be_by_origin(path: &[u8]) -> bool {
    path.windows(BY_ORIGIN.len()).any(|w| w == BY_ORIGIN)
}

/// The path without the way from another library's directory, as a string that lives as long as the process.
#[inline(never)]
fn clean(stage: &Stage, path: &[u8]) -> Option<*const c_char> {
    let mut buf = Buffer::zeroed();
    let len = put(&mut buf, 0, path)?;
    let len = without_way(buf.get_mut(..len)?)?;
    let clean = buf.get(..len)?;
    match stage.index().lookup(clean) {
        Some(e) => Some(e.path().as_ptr().cast()),
        None => interned::intern(clean),
    }
}

/// Removes, in place, the way from another library's directory that an edited search path left in a path, that is the
/// `..` behind [`BY_ORIGIN`] and as many names before it; the new length. Other `..` are the original's own. `None` if
/// there is no such way.
pub(super) fn without_way(path: &mut [u8]) -> Option<usize> {
    let at = path.windows(BY_ORIGIN.len()).rposition(|w| w == BY_ORIGIN)?;
    let mut rest = at + BY_ORIGIN.len();
    let mut keep = at;
    // Every `..` is followed by a slash or the end.
    while path.get(rest..rest + 2) == Some(b"..") {
        keep = at_last_slash(path.get(..keep)?)?.0.len();
        rest += 2;
        if path.get(rest..rest + 3) != Some(b"/..") {
            break;
        }
        rest += 1;
    }
    let end = path.len();
    shift(path, rest..end, keep)
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

/// Callback of dl_iterate_phdr. Leaves this library for the end, because a program that was built with AddressSanitizer
/// looks only at the first library and ends itself if that is not the sanitizer's.
///
/// # Safety
/// `info` must be the loader's, and `call` a [`Call`].
unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, size: size_t, call: *mut c_void) -> c_int {
    // SAFETY: `call` is the `Call` on the stack of `iterate`. `info` is the loader's and is only read.
    unsafe {
        let call = &mut *call.cast::<Call>();
        // A newer loader's structure is longer than the one known here, so it goes to the callback unchanged. An older
        // loader's is shorter, and `size` tells the callback so.
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

pub(super) const RTLD_DI_SERINFO: c_int = 4;
const RTLD_DI_ORIGIN: c_int = 6;

/// `Dl_serinfo`: the directories in which the loader searches, in the caller's buffer.
#[repr(C)]
pub(super) struct SearchPath {
    pub size: size_t,
    pub count: c_uint,
    pub dirs: [SearchDir; 0],
}

/// `Dl_serpath`.
#[repr(C)]
pub(super) struct SearchDir {
    pub name: *const c_char,
    pub flags: c_uint,
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
/// `to` must be as dlinfo has filled it if its result `r` is 0.
unsafe fn informed(request: c_int, to: *mut c_void, r: c_int) -> c_int {
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
            let dirs = &raw mut (*to.cast::<SearchPath>()).dirs;
            for i in 0..(*to.cast::<SearchPath>()).count as usize {
                let dir = dirs.cast::<SearchDir>().add(i);
                let text = CStr::from_ptr((*dir).name).to_bytes();
                let Some(tail) = stage.original(text) else { continue };
                (*dir).name = tail.as_ptr().cast();
                let text = (*dir).name.cast_mut().cast::<u8>();
                let text = slice::from_raw_parts_mut(text, tail.len());
                if let Some(end) = without_way(text).and_then(|len| text.get_mut(len)) {
                    *end = 0;
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
        = |real| informed(request, to, real(handle, request, to));
    fn dlerror() -> *mut c_char = |real| shown(real());
}

/// Replaces staged names in a message by the original ones, in place. libc formats a message with a path into memory of
/// the calling thread, which it frees at the next dlerror. A constant message contains no path.
///
/// # Safety
/// `message` must be a C string, writable where it contains the stage's directory.
unsafe fn shorten(stage: &Stage, message: *mut c_char) {
    let fs = stage.index().fs_len();
    let mut from = 0;
    loop {
        // SAFETY: the caller guarantees a C string, and `from` stays within it.
        let text = unsafe { CStr::from_ptr(message.add(from)) }.to_bytes();
        let staged = |at: &usize| -> bool {
            let below = text.get(*at..).and_then(|tail| tail.strip_prefix(stage.dir()));
            below.is_some_and(|below| below.starts_with(b"/fs"))
        };
        let Some(at) = (0..text.len()).find(staged) else { return };
        let rest = text.len() - at - fs;
        // SAFETY: the tail and its NUL move down within the message, and then only a part of the tail is written.
        unsafe {
            let to = message.add(from + at);
            ptr::copy(to.add(fs), to, rest + 1);
            let tail = slice::from_raw_parts_mut(to.cast::<u8>(), rest + 1);
            // The message says more behind the name of a file.
            let end = tail.windows(2).position(|w| w == b": ").unwrap_or(rest);
            if let Some(len) = tail.get_mut(..end).and_then(without_way) {
                shift(tail, end..rest + 1, len);
            }
        }
        from += at;
    }
}
