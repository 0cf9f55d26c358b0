//! Hooks glob: calls libc's glob with GLOB_ALTDIRFUNC, so that glob reads directories by the hooked functions.
//!
//! A caller's own directory functions are kept. Since 2.27 libc has two versions of glob
//! ([`crate::hooks::loader::glob_version`]). The older glob calls `gl_stat` where the newer glob calls `gl_lstat`. A
//! caller that was linked with the older glob may have left `gl_lstat` unset. For such a caller the newer glob gets
//! `gl_stat` in both places, and then behaves like the older glob.

use core::ffi::{c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;

use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, DIR, dirent as Dirent};
use pyshm_core::stage::current::stage;

use crate::hooks::attributes::stat::stat_at;
use crate::hooks::directories::dirent;
use crate::hooks::loader::glob_version::linked_with_older_glob;

/// Flag that makes glob use the functions in the structure.
const GLOB_ALTDIRFUNC: c_int = 1 << 9;

type Look = unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int;
type OnError = Option<unsafe extern "C" fn(*const c_char, c_int) -> c_int>;
type Glob = unsafe extern "C" fn(*const c_char, c_int, OnError, *mut Names) -> c_int;

/// `glob_t`, and on 64-bit systems also `glob64_t`. A caller may leave every field unset.
#[repr(C)]
pub struct Names {
    /// Number of names.
    pub count: usize,
    /// The names.
    pub names: *mut *mut c_char,
    offset: usize,
    flags: c_int,
    functions: Functions,
}

#[repr(C)]
struct Functions {
    closedir: Option<unsafe extern "C" fn(*mut c_void)>,
    readdir: Option<unsafe extern "C" fn(*mut c_void) -> *mut Dirent>,
    opendir: Option<unsafe extern "C" fn(*const c_char) -> *mut c_void>,
    lstat: Option<Look>,
    stat: Option<Look>,
}

unsafe extern "C" fn closedir(dir: *mut c_void) {
    // SAFETY: glob passes a stream that `opendir` below has returned.
    unsafe { dirent::closedir::hook(dir.cast::<DIR>()) };
}

unsafe extern "C" fn readdir(dir: *mut c_void) -> *mut Dirent {
    // SAFETY: as above.
    unsafe { dirent::readdir64::hook(dir.cast::<DIR>()) }
}

unsafe extern "C" fn opendir(path: *const c_char) -> *mut c_void {
    // SAFETY: glob gives a C string.
    unsafe { dirent::opendir::hook(path).cast() }
}

unsafe extern "C" fn lstat(path: *const c_char, to: *mut libc::stat) -> c_int {
    // SAFETY: glob gives a C string and a structure to be filled.
    unsafe { stat_at(AT_FDCWD, path, to, AT_SYMLINK_NOFOLLOW) }
}

unsafe extern "C" fn stat(path: *const c_char, to: *mut libc::stat) -> c_int {
    // SAFETY: as above.
    unsafe { stat_at(AT_FDCWD, path, to, 0) }
}

real_function!(real_glob, glob, (pattern: *const c_char, flags: c_int, on_error: OnError, found: *mut Names) -> c_int);
real_function!(real_glob64, glob64, (pattern: *const c_char, flags: c_int, on_error: OnError, found: *mut Names) -> c_int);

/// Calls libc's glob with the hooked functions for directories.
///
/// # Safety
/// As glob, and `flags` must not contain GLOB_ALTDIRFUNC.
pub unsafe fn glob_hooked(pattern: *const c_char, flags: c_int, found: *mut Names) -> c_int {
    // SAFETY: the caller keeps the contract of glob.
    unsafe { along(real_glob(), pattern, flags, None, found) }
}

/// Calls `real`, which is libc's glob or glob64, with the hooked functions for directories.
///
/// # Safety
/// As glob, and `flags` must not contain GLOB_ALTDIRFUNC.
unsafe fn along(
    real: Glob,
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Names,
) -> c_int {
    /// A value that glob never stores as flags.
    const UNSET: c_int = -1;
    // SAFETY: the caller keeps the contract of glob. Fields that the caller left unset are copied as uninitialized bytes.
    unsafe {
        let mut saved = MaybeUninit::<Names>::uninit();
        ptr::copy_nonoverlapping(found, saved.as_mut_ptr(), 1);
        let saved = saved.as_ptr();
        (&raw mut (*found).functions).write(Functions {
            closedir: Some(closedir),
            readdir: Some(readdir),
            opendir: Some(opendir),
            lstat: Some(lstat),
            stat: Some(stat),
        });
        // glob sets the flags only if it returns names.
        (&raw mut (*found).flags).write(UNSET);
        let r = real(pattern, flags | GLOB_ALTDIRFUNC, on_error, found);
        ptr::copy_nonoverlapping(&raw const (*saved).functions, &raw mut (*found).functions, 1);
        if (*found).flags == UNSET {
            ptr::copy_nonoverlapping(&raw const (*saved).flags, &raw mut (*found).flags, 1);
        } else {
            (*found).flags &= !GLOB_ALTDIRFUNC;
        }
        r
    }
}

/// Calls `real` so that it behaves like the older glob, with the caller's own functions.
///
/// # Safety
/// As glob.
unsafe fn older(
    real: Glob,
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Names,
) -> c_int {
    // SAFETY: the caller keeps the contract of glob. Fields that the caller left unset are copied as uninitialized bytes.
    unsafe {
        let functions = &raw mut (*found).functions;
        let mut saved = MaybeUninit::<Option<Look>>::uninit();
        ptr::copy_nonoverlapping(&raw const (*functions).lstat, saved.as_mut_ptr(), 1);
        ptr::copy_nonoverlapping(&raw const (*functions).stat, &raw mut (*functions).lstat, 1);
        let r = real(pattern, flags, on_error, found);
        ptr::copy_nonoverlapping(saved.as_ptr(), &raw mut (*functions).lstat, 1);
        r
    }
}

/// Calls glob as the code at the address `caller` expects.
///
/// # Safety
/// As glob.
unsafe fn route(
    real: Glob,
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Names,
    caller: *const c_void,
) -> c_int {
    // SAFETY: the caller keeps the contract of glob.
    unsafe {
        if !found.is_null() && flags & GLOB_ALTDIRFUNC != 0 && linked_with_older_glob(caller) {
            older(real, pattern, flags, on_error, found)
        } else if found.is_null() || flags & GLOB_ALTDIRFUNC != 0 || stage().is_none() {
            real(pattern, flags, on_error, found)
        } else {
            along(real, pattern, flags, on_error, found)
        }
    }
}

/// # Safety
/// As [`route`].
unsafe extern "C" fn for_glob(
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Names,
    caller: *const c_void,
) -> c_int {
    // SAFETY: the caller keeps the contract of glob.
    unsafe { route(real_glob(), pattern, flags, on_error, found, caller) }
}

/// # Safety
/// As [`route`].
unsafe extern "C" fn for_glob64(
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Names,
    caller: *const c_void,
) -> c_int {
    // SAFETY: the caller keeps the contract of glob.
    unsafe { route(real_glob64(), pattern, flags, on_error, found, caller) }
}

/// Stands in front of libc's function of this name. Adds the return address to the arguments.
///
/// # Safety
/// As libc's function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glob(
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Names,
) -> c_int {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!("mov r8, [rsp]", "jmp {route}", route = sym for_glob);
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!("mov x4, x30", "b {route}", route = sym for_glob);
}

/// Stands in front of libc's function of this name.
///
/// # Safety
/// As libc's function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glob64(
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Names,
) -> c_int {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!("mov r8, [rsp]", "jmp {route}", route = sym for_glob64);
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!("mov x4, x30", "b {route}", route = sym for_glob64);
}
