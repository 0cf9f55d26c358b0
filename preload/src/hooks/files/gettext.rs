//! Hooks the functions for message catalogues. libc opens catalogues without reaching a hook of open, so these hooks
//! give libc the staged names.
//!
//! libc keeps the name of a domain's directory and makes file names from that name. When libc returns the staged name,
//! the hook returns the name's tail, which is the original name. A later change to a file of the directory goes
//! unnoticed, but the catalogues of an installed program do not change.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;

use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::stage::current::stage;

use crate::hooks::files::open::retry;

/// # Safety
/// `name` as catopen requires.
unsafe fn open_catalogue(
    name: *const c_char,
    real: impl Fn(*const c_char) -> *mut c_void,
) -> *mut c_void {
    // The value that catopen returns when it fails.
    let failed = ptr::without_provenance_mut::<c_void>(usize::MAX);
    // SAFETY: the caller keeps the contract of catopen.
    unsafe {
        // libc searches for a plain name along NLSPATH.
        if bytes(name).is_none_or(|name| !name.contains(&b'/')) {
            return real(name);
        }
        read(PathArg::followed(name), Want::Data(libc::O_RDONLY), |answer| match answer {
            Answer::Pass(_, name) => real(name),
            Answer::Absent(e) => {
                sys::set_errno(e);
                failed
            }
            Answer::Redirect(e) => {
                let before = sys::errno();
                let catalogue = real(e.pristine().as_ptr().cast());
                if catalogue != failed || !retry(sys::errno()) {
                    return catalogue;
                }
                sys::set_errno(before);
                real(e.path().as_ptr().cast())
            }
        })
    }
}

/// Calls `real` with the directory in which libc is to search.
///
/// # Safety
/// `dir` must be null or a C string.
unsafe fn with_directory(
    dir: *const c_char,
    real: impl Fn(*const c_char) -> *mut c_char,
) -> *mut c_char {
    // SAFETY: the caller guarantees null or a C string.
    unsafe {
        read(PathArg::followed(dir), Want::Data(libc::O_DIRECTORY), |answer| match answer {
            Answer::Redirect(e) => real(e.staged().as_ptr().cast()),
            // The directory does not exist. In the stage, libc finds that out without an operation on the shared file
            // system.
            Answer::Absent(libc::ENOENT) if bytes(dir).is_some_and(|d| d.starts_with(b"/")) => {
                let mut name = [0; PATH_MAX];
                let staged = stage()
                    .and_then(|stage| stage.staged_name(bytes(dir).unwrap_or_default(), &mut name));
                real(if staged.is_some() { name.as_ptr().cast() } else { dir })
            }
            _ => real(dir),
        })
    }
}

/// The original name of a directory whose name libc returned.
///
/// # Safety
/// `dir` must be null or a C string that lives as long as the domain.
unsafe fn shown(dir: *mut c_char) -> *mut c_char {
    match stage() {
        Some(stage) if !dir.is_null() => {
            // SAFETY: the caller guarantees a C string, and the tail is a part of it.
            unsafe {
                let text = CStr::from_ptr(dir).to_bytes();
                stage.original(text).map_or(dir, |tail| dir.add(text.len() - tail.len()))
            }
        }
        _ => dir,
    }
}

hooks! {
    fn catopen(name: *const c_char, flag: c_int) -> *mut c_void
        = |real| open_catalogue(name, |name| real(name, flag));
    fn bindtextdomain(domain: *const c_char, dir: *const c_char) -> *mut c_char
        = |real| shown(with_directory(dir, |dir| real(domain, dir)));
}
