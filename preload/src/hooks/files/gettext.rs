//! Message catalogues: libc opens them inside itself, so it is given the stage's names.
//!
//! A domain's directory is a name that libc keeps and makes file names from. What it gives back is the tail of that
//! name, the original one. A file of the directory that changes later is not seen: the catalogues of an installed
//! program do not.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;

use libc::AT_FDCWD;

use crate::hooks::files::open::retry;
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::path::resolve::bytes;
use pyshm_core::stage::current::stage;

hooks! {
    unsafe fn catopen(name: *const c_char, flag: c_int) -> *mut c_void => my_catopen {
        // What catopen gives when it fails.
        let failed = ptr::without_provenance_mut::<c_void>(usize::MAX);
        // SAFETY: the caller's own arguments, or a name of ours.
        let real = |name: *const c_char| unsafe { real!(catopen)(name, flag) };
        // SAFETY: the caller's own arguments.
        unsafe {
            // A plain name is looked for along NLSPATH, which libc reads by itself.
            if bytes(name).is_none_or(|name| !name.contains(&b'/')) {
                return real(name);
            }
            ask(AT_FDCWD, name, true, Want::Data(libc::O_RDONLY), |answer| match answer {
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
    unsafe fn bindtextdomain(domain: *const c_char, dir: *const c_char) -> *mut c_char => my_bindtextdomain {
        // SAFETY: the caller's own arguments, or a name of ours, which libc copies. What it gives back is null or a C
        // string that lives as long as the domain.
        unsafe {
            let kept: *mut c_char = bind(dir, |dir| real!(bindtextdomain)(domain, dir));
            match stage() {
                Some(stage) if !kept.is_null() => {
                    let text = CStr::from_ptr(kept).to_bytes();
                    stage.original(text).map_or(kept, |tail| kept.add(text.len() - tail.len()))
                }
                _ => kept,
            }
        }
    }
}

/// Calls `real` with the directory that libc is to look in.
///
/// # Safety
/// `dir` must be null or a C string.
unsafe fn bind(dir: *const c_char, real: impl Fn(*const c_char) -> *mut c_char) -> *mut c_char {
    // SAFETY: by the caller's word.
    unsafe {
        ask(AT_FDCWD, dir, true, Want::Data(libc::O_DIRECTORY), |answer| match answer {
            Answer::Redirect(e) => real(e.staged().as_ptr().cast()),
            // Nothing is below it: in the stage that costs nothing to find out.
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
