//! Loads libraries from the stage.
//!
//! dlopen looks a plain name up along the RUNPATH of its *caller*, which it knows by its return address. So the hooks
//! of dlopen and dlmopen only exchange the path and jump on: the caller stays the caller. The exchanged path lives as
//! long as the process. What is made here does not depend on the caller: the failure for a library that is known to be
//! missing, and libraries that are loaded with RTLD_DEEPBIND ([`deepbind`]).
//!
//! A library keeps the spelling by which it was asked for, behind the directory of the stage: `$ORIGIN` in its search
//! path and the name that the loader shows follow from it.

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::ptr;

use libc::AT_FDCWD;
use pyshm_core::base::buffer::Buffer;
use pyshm_core::base::{interned, sys};
use pyshm_core::decide::spelling::with_one_slash;
use pyshm_core::decide::view::{Follow, Want};
use pyshm_core::path::argument::{PathArg, bytes};
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::path::resolve::absolute;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::mapped::Stage;
use pyshm_format::Entry;

use crate::hooks::loader::deepbind;
use crate::hooks::loader::loaded::{self, Wanted};
use crate::hooks::loader::namespaces;
use crate::hooks::loader::real::{BASE, NEW, load, real_dlmopen, real_dlopen};

/// What the exported function does next.
#[repr(C)]
struct Next {
    /// Jump to this function; if it is null, return.
    real: *const c_void,
    /// The path for that function, or the handle to return.
    value: *const c_void,
}

impl Next {
    fn returns(handle: *mut c_void) -> Self {
        Self { real: ptr::null(), value: handle.cast_const() }
    }
}

/// Where to load a library from.
enum Source {
    /// From this path.
    Path(*const c_char),
    /// From nowhere: it is missing, and this staged name is missing too.
    Missing,
}

/// Whether a name is a path that the loader opens as it is: it searches for a plain name, and resolves `$ORIGIN` and
/// its like.
fn is_path(name: &[u8]) -> bool {
    name.contains(&b'/') && !name.contains(&b'$')
}

/// Finds from where `path` is to be loaded. `name` takes the staged name of a missing library.
///
/// # Safety
/// `path` must be null or a C string.
unsafe fn source(path: *const c_char, name: &mut [u8]) -> Source {
    let same = Source::Path(path);
    let Some(stage) = stage() else { return same };
    // SAFETY: the caller guarantees null or a C string.
    let Some(text) = (unsafe { bytes(path) }).filter(|text| is_path(text) && !stage.noexec) else {
        return same;
    };
    // SAFETY: as above.
    unsafe {
        read(PathArg::followed(path), Want::Library, |answer| match answer {
            Answer::Redirect(e) => {
                let staged = spelled(stage, text, &e);
                let other = loaded::elsewhere(stage, Wanted::Staged(&e, staged.to_bytes()));
                // The staged file may have been removed, or be closed to who this thread is now.
                Source::Path(other.or_else(|| readable(staged)).unwrap_or(path))
            }
            // The loader looks for the name below the stage, where it is missing too, and fails without a look at the
            // shared file system. dlerror translates the name in its message back.
            Answer::Absent(libc::ENOENT) if text.first() == Some(&b'/') => {
                match stage.staged_name(text, name) {
                    // A user who may not look into the stage would be told that instead.
                    Some(())
                        if sys::faccessat(AT_FDCWD, name.as_ptr().cast(), 0, libc::AT_EACCESS)
                            != Err(libc::EACCES) =>
                    {
                        Source::Missing
                    }
                    _ => same,
                }
            }
            Answer::Absent(_) => same,
            Answer::Pass(_, led) => {
                // A link in the prefix leads out of it, and the staged one leads there too.
                let leaves = text.first() == Some(&b'/') && led != path;
                let staged =
                    if leaves { by_spelling(stage, text).and_then(readable) } else { None };
                Source::Path(staged.or_else(|| original(stage, text)).unwrap_or(path))
            }
        })
    }
}

/// The name of a loaded library that is the file which the kernel finds under `path`, if that has another name.
#[inline(never)]
fn original(stage: &Stage, path: &[u8]) -> Option<*const c_char> {
    let mut buf = Buffer::zeroed();
    let abs = absolute(stage, AT_FDCWD, path, Follow::Yes, &mut buf)?;
    let own = path.first() == Some(&b'/') && !abs.moved;
    let text = if own { path } else { abs.path };
    // SAFETY: a NUL follows the caller's path, and one that `absolute` made.
    let name = unsafe { CStr::from_ptr(text.as_ptr().cast()) };
    let inside = stage.view.prefix_of(name.to_bytes()).is_some();
    loaded::elsewhere(stage, if inside { Wanted::Inside(name) } else { Wanted::Outside(name) })
}

/// The staged name of a file, with the caller's spelling of its path where the stage has that.
fn spelled<'a>(stage: &Stage, path: &[u8], e: &Entry<'static>) -> &'a CStr {
    let own = e.staged().as_ptr().cast();
    let name = if path == e.path() { None } else { by_spelling(stage, path) };
    // SAFETY: strings of the index, or interned ones, which live as long as the process.
    unsafe { name.unwrap_or(CStr::from_ptr(own)) }
}

/// The staged name that keeps the spelling of a path. `None` for a relative one, and for an alias of a prefix.
fn by_spelling<'a>(stage: &Stage, path: &[u8]) -> Option<&'a CStr> {
    let index = stage.index();
    let prefix = index.prefix(stage.view.prefix_of(with_one_slash(path))?)?;
    if prefix.path != prefix.canonical {
        return None;
    }
    let name = match index.lookup(path) {
        Some(e) => e.staged().as_ptr().cast(),
        None => {
            let mut name = Buffer::zeroed();
            stage.staged_name(path, &mut name)?;
            let len = index.fs_len() + path.len();
            interned::intern(name.get(..len)?)?
        }
    };
    // SAFETY: as in `spelled`.
    Some(unsafe { CStr::from_ptr(name) })
}

/// The name of a file, if that exists and can be read.
fn readable(name: &CStr) -> Option<*const c_char> {
    let name = name.as_ptr();
    // SAFETY: a C string.
    unsafe { sys::faccessat(AT_FDCWD, name, libc::R_OK, libc::AT_EACCESS) }.ok().map(|_| name)
}

/// What dlopen does, called by `caller`.
///
/// # Safety
/// As dlopen.
unsafe extern "C" fn for_dlopen(path: *const c_char, mode: c_int, caller: *const c_void) -> Next {
    let mut name = Buffer::zeroed();
    // SAFETY: the caller guarantees dlopen's arguments.
    unsafe {
        let path = match source(path, &mut name) {
            Source::Path(path) => path,
            Source::Missing => {
                return Next::returns(real_dlopen()(name.as_ptr().cast(), mode));
            }
        };
        if let Some(handle) = deepbind::load(BASE, path, mode, caller) {
            return Next::returns(handle);
        }
        Next { real: real_dlopen() as *const c_void, value: path.cast() }
    }
}

/// What dlmopen does; it may put another namespace into `space`.
///
/// # Safety
/// As dlmopen, and `caller` points to its caller.
unsafe extern "C" fn for_dlmopen(
    path: *const c_char,
    space: *mut c_long,
    mode: c_int,
    caller: *const c_void,
) -> Next {
    let mut name = Buffer::zeroed();
    // SAFETY: the caller guarantees dlmopen's arguments.
    unsafe {
        let path = match source(path, &mut name) {
            Source::Path(path) => path,
            Source::Missing => {
                return Next::returns(real_dlmopen()(*space, name.as_ptr().cast(), mode));
            }
        };
        let claimed = match *space {
            NEW if mode & libc::RTLD_GLOBAL == 0 && !path.is_null() => namespaces::claim(),
            _ => None,
        };
        if let Some(claimed) = claimed {
            *space = claimed.number();
            // What the loader does with such a name does not depend on the caller.
            let path_alone = bytes(path).is_some_and(is_path) && mode & libc::RTLD_DEEPBIND == 0;
            if path_alone {
                let handle = load(*space, path, mode);
                claimed.release();
                return Next::returns(handle);
            }
        }
        if let Some(handle) = deepbind::load(*space, path, mode, caller) {
            return Next::returns(handle);
        }
        Next { real: real_dlmopen() as *const c_void, value: path.cast() }
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
        "mov rdx, [rsp]", "push rsi", "call {next}", "pop rsi",
        "test rax, rax", "je 2f",
        "mov rdi, rdx", "jmp rax",
        "2:", "mov rax, rdx", "ret",
        next = sym for_dlopen
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-32]!", "mov x29, sp", "str x1, [sp, #16]",
        "mov x2, x30", "bl {next}",
        "mov x16, x0", "mov x0, x1",
        "ldr x1, [sp, #16]", "ldp x29, x30, [sp], #32",
        "cbz x16, 2f", "br x16", "2:", "ret",
        next = sym for_dlopen
    );
}

/// Stands in front of libc's function of this name.
///
/// # Safety
/// As libc's function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmopen(space: c_long, path: *const c_char, mode: c_int) -> *mut c_void {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "mov rcx, [rsp]", "push rdx", "push rdi", "sub rsp, 8",
        "mov rdi, rsi", "lea rsi, [rsp + 8]", "call {next}",
        "mov rsi, rdx", "add rsp, 8", "pop rdi", "pop rdx",
        "test rax, rax", "je 2f", "jmp rax",
        "2:", "mov rax, rsi", "ret",
        next = sym for_dlmopen
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-32]!", "mov x29, sp", "stp x0, x2, [sp, #16]",
        "mov x0, x1", "add x1, sp, #16", "mov x3, x30", "bl {next}",
        "mov x16, x0", "mov x9, x1",
        "ldp x0, x2, [sp, #16]", "ldp x29, x30, [sp], #32",
        "cbz x16, 2f", "mov x1, x9", "br x16", "2:", "mov x0, x9", "ret",
        next = sym for_dlmopen
    );
}
