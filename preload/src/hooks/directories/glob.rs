//! glob: libc's own, told by GLOB_ALTDIRFUNC to look at directories through the hooked functions.
//!
//! A caller's own directory functions are left alone. libc's glob exists twice since 2.27 ([`crate::bound`]): the older
//! one calls `gl_stat` where the newer calls `gl_lstat`, which callers who were linked with the older may have left
//! unset. For them the newer one gets `gl_stat` in both places, which makes it the older.

use core::ffi::{c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;

use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, DIR, dirent};

use crate::hooks::attributes::stat::stat_at;
use crate::hooks::directories::dirent::my_closedir;
use crate::hooks::directories::dirent::my_opendir;
use crate::hooks::directories::dirent::my_readdir64;
use crate::hooks::loader::glob_version;
use pyshm_core::stage::current::stage;

/// The functions in the structure are used.
const GLOB_ALTDIRFUNC: c_int = 1 << 9;

type Look = unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int;
type OnError = Option<unsafe extern "C" fn(*const c_char, c_int) -> c_int>;
type Glob = unsafe extern "C" fn(*const c_char, c_int, OnError, *mut Found) -> c_int;

/// `glob_t`, and on 64-bit systems `glob64_t`. A caller may leave all of it unset.
#[repr(C)]
pub struct Found {
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
    readdir: Option<unsafe extern "C" fn(*mut c_void) -> *mut dirent>,
    opendir: Option<unsafe extern "C" fn(*const c_char) -> *mut c_void>,
    lstat: Option<Look>,
    stat: Option<Look>,
}

unsafe extern "C" fn closedir(dir: *mut c_void) {
    // SAFETY: what `opendir` below has given.
    unsafe { my_closedir(dir.cast::<DIR>()) };
}

unsafe extern "C" fn readdir(dir: *mut c_void) -> *mut dirent {
    // SAFETY: as above.
    unsafe { my_readdir64(dir.cast::<DIR>()) }
}

unsafe extern "C" fn opendir(path: *const c_char) -> *mut c_void {
    // SAFETY: glob gives a C string.
    unsafe { my_opendir(path).cast() }
}

unsafe extern "C" fn lstat(path: *const c_char, to: *mut libc::stat) -> c_int {
    // SAFETY: as above, and a structure to be filled.
    unsafe { stat_at(AT_FDCWD, path, to, AT_SYMLINK_NOFOLLOW) }
}

unsafe extern "C" fn stat(path: *const c_char, to: *mut libc::stat) -> c_int {
    // SAFETY: as above.
    unsafe { stat_at(AT_FDCWD, path, to, 0) }
}

real_function!(real_glob, glob, (pattern: *const c_char, flags: c_int, on_error: OnError, found: *mut Found) -> c_int);
real_function!(real_glob64, glob64, (pattern: *const c_char, flags: c_int, on_error: OnError, found: *mut Found) -> c_int);

/// libc's glob, along the hooked functions.
///
/// # Safety
/// As glob; `flags` without GLOB_ALTDIRFUNC.
pub unsafe fn glob_hooked(pattern: *const c_char, flags: c_int, found: *mut Found) -> c_int {
    // SAFETY: by the caller's word.
    unsafe { along(real_glob(), pattern, flags, None, found) }
}

/// The same by either name.
///
/// # Safety
/// As above.
unsafe fn along(
    real: Glob,
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Found,
) -> c_int {
    /// No flags of glob's.
    const UNSET: c_int = -1;
    // SAFETY: by the caller's word. What the caller left unset is copied as it is and not looked at.
    unsafe {
        let mut saved = MaybeUninit::<Found>::uninit();
        ptr::copy_nonoverlapping(found, saved.as_mut_ptr(), 1);
        let saved = saved.as_ptr();
        (&raw mut (*found).functions).write(Functions {
            closedir: Some(closedir),
            readdir: Some(readdir),
            opendir: Some(opendir),
            lstat: Some(lstat),
            stat: Some(stat),
        });
        // glob sets the flags only where it has found something.
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

/// libc's older glob, with the caller's own functions.
///
/// # Safety
/// As glob.
unsafe fn older(
    real: Glob,
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Found,
) -> c_int {
    // SAFETY: by the caller's word. What the caller left unset is copied as it is and not looked at.
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

/// # Safety
/// As glob. `caller` is where it was called.
unsafe fn route(
    real: Glob,
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Found,
    caller: *const c_void,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe {
        if !found.is_null() && flags & GLOB_ALTDIRFUNC != 0 && glob_version::to_older_glob(caller) {
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
    found: *mut Found,
    caller: *const c_void,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe { route(real_glob(), pattern, flags, on_error, found, caller) }
}

/// # Safety
/// As [`route`].
unsafe extern "C" fn for_glob64(
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Found,
    caller: *const c_void,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe { route(real_glob64(), pattern, flags, on_error, found, caller) }
}

/// Stands in front of libc's function of this name. It adds where it was called to the arguments.
///
/// # Safety
/// As libc's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glob(
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Found,
) -> c_int {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!("mov r8, [rsp]", "jmp {route}", route = sym for_glob);
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!("mov x4, x30", "b {route}", route = sym for_glob);
}

/// Stands in front of libc's function of this name.
///
/// # Safety
/// As libc's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glob64(
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    found: *mut Found,
) -> c_int {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!("mov r8, [rsp]", "jmp {route}", route = sym for_glob64);
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!("mov x4, x30", "b {route}", route = sym for_glob64);
}
