//! `backtrace_symbols` and `backtrace_symbols_fd`: libc makes their texts from the names that the loader has.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;

use pyshm_core::base::sys;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::mapped::Stage;

use crate::hooks::loader::names::{self, dladdr1};

const RTLD_DL_LINKMAP: c_int = 2;

hooks! {
    fn backtrace_symbols(frames: *const *mut c_void, count: c_int) -> *mut *mut c_char
        = |real| shown(real(frames, count), count);
    fn backtrace_symbols_fd(frames: *const *mut c_void, count: c_int, fd: c_int) -> ()
        = |real| written(frames, count, fd, || real(frames, count, fd));
}

/// Shows original names in the texts of backtrace_symbols.
///
/// # Safety
/// `texts` must be null or what backtrace_symbols returned for `count` frames.
unsafe fn shown(texts: *mut *mut c_char, count: c_int) -> *mut *mut c_char {
    let Some(stage) = stage() else { return texts };
    if texts.is_null() {
        return texts;
    }
    for i in 0..count.max(0) as usize {
        // SAFETY: the caller guarantees as many C strings, in the one block that the program frees. A string may begin
        // later and end earlier.
        unsafe {
            let text = texts.add(i);
            let original = CStr::from_ptr(*text).to_bytes();
            let Some(tail) = stage.original(original) else { continue };
            *text = tail.as_ptr().cast_mut().cast();
            let tail = core::slice::from_raw_parts_mut((*text).cast::<u8>(), tail.len());
            if let Some(end) = names::without_way(tail).and_then(|len| tail.get_mut(len)) {
                *end = 0;
            }
        }
    }
    texts
}

/// What the loader knows of an address.
struct Place {
    info: libc::Dl_info,
    /// Where the object was loaded.
    base: usize,
}

/// Finds the object and the symbol at an address.
fn place(address: *const c_void) -> Option<Place> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    let mut object: *mut c_void = ptr::null_mut();
    // SAFETY: dladdr1 only compares the address. It fills the structure if it returns 1, and the loader's description
    // of an object begins with its base.
    unsafe {
        let found = dladdr1::real()(address, info.as_mut_ptr(), &raw mut object, RTLD_DL_LINKMAP);
        (found != 0 && !object.is_null())
            .then(|| Place { info: info.assume_init(), base: *object.cast::<usize>() })
    }
}

/// Writes a line for each frame as backtrace_symbols_fd does, with original names; calls `real` if no name is staged.
///
/// # Safety
/// As backtrace_symbols_fd.
unsafe fn written(frames: *const *mut c_void, count: c_int, fd: c_int, real: impl FnOnce()) {
    let frames = |i| -> *mut c_void {
        // SAFETY: the caller guarantees as many frames.
        unsafe { *frames.add(i) }
    };
    let count = count.max(0) as usize;
    let Some(stage) = stage() else { return real() };
    let is_staged = |place: Place| {
        // SAFETY: null or a C string of the loader's.
        unsafe { names::original(stage, place.info.dli_fname) != place.info.dli_fname }
    };
    if !(0..count).any(|i| place(frames(i)).is_some_and(is_staged)) {
        return real();
    }
    for i in 0..count {
        line(stage, frames(i), fd);
    }
}

/// Writes the line of one address.
fn line(stage: &Stage, address: *mut c_void, fd: c_int) {
    let mut digits = [[0; 16]; 2];
    let [offset_digits, address_digits] = &mut digits;
    let mut line =
        Line { parts: [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; 10], used: 0 };
    if let Some(place) = place(address) {
        // SAFETY: null or C strings of the loader's.
        let text = |name: *const c_char| unsafe {
            if name.is_null() { &b""[..] } else { CStr::from_ptr(name).to_bytes() }
        };
        // SAFETY: as above.
        let file = text(unsafe { names::original(stage, place.info.dli_fname) });
        if !file.is_empty() {
            line.add(file);
            line.add(b"(");
            let symbol = text(place.info.dli_sname);
            line.add(symbol);
            let from = if symbol.is_empty() { place.base } else { place.info.dli_saddr as usize };
            let to = address as usize;
            line.add(if to >= from { b"+0x" } else { b"-0x" });
            line.add(hexadecimal(to.abs_diff(from), offset_digits));
            line.add(b")");
        }
    }
    line.add(b"[0x");
    line.add(hexadecimal(address as usize, address_digits));
    line.add(b"]\n");
    // SAFETY: the kernel reads the parts, which live to the end of the call.
    let _ = unsafe {
        sys::syscall(
            libc::SYS_writev,
            [fd as usize, line.parts.as_ptr() as usize, line.used, 0, 0, 0],
        )
    };
}

/// The parts of a line.
struct Line {
    parts: [libc::iovec; 10],
    used: usize,
}

impl Line {
    fn add(&mut self, part: &[u8]) {
        if let Some(place) = self.parts.get_mut(self.used) {
            *place = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
            self.used += 1;
        }
    }
}

/// Writes a number in hexadecimal into `digits`; the text.
fn hexadecimal(number: usize, digits: &mut [u8; 16]) -> &[u8] {
    let (mut rest, mut unused) = (number, digits.len());
    for digit in digits.iter_mut().rev() {
        let n = (rest & 15) as u8;
        *digit = if n < 10 { b'0' + n } else { b'a' + n - 10 };
        rest >>= 4;
        unused -= 1;
        if rest == 0 {
            break;
        }
    }
    digits.get(unused..).unwrap_or(b"")
}
