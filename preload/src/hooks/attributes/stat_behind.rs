//! What stands behind the stat family: libc's functions of the same names, or those of another preloaded library, which
//! counts calls perhaps. What passes goes there; where there is none (see [`crate::hooks::stat`]), to the kernel.

use core::ffi::{c_char, c_int, c_void};
use core::mem::transmute;
use core::ptr;

use libc::AT_FDCWD;

use pyshm_core::base::sys;

/// The function behind one of ours: how it is found, and what it takes.
#[derive(Clone, Copy)]
pub(super) struct Behind {
    /// Gives its address.
    pub(super) find: fn() -> *mut c_void,
    /// Its arguments.
    pub(super) takes: Takes,
}

/// Arguments of the family. The version of the structure is the same in all 64-bit programs.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    /// `stat(path, to)`
    Path,
    /// `__xstat(version, path, to)`
    VersionPath,
    /// `fstatat(dirfd, path, to, flags)`
    At,
    /// `__fxstatat(version, dirfd, path, to, flags)`
    VersionAt,
    /// `fstat(fd, to)`
    Fd,
    /// `__fxstat(version, fd, to)`
    VersionFd,
    /// It is no function but a system call.
    Kernel,
}

/// `_STAT_VER` of 64-bit systems' `__xstat`.
const VERSION: c_int = if cfg!(target_arch = "x86_64") { 1 } else { 0 };

/// The system call itself.
pub(super) const KERNEL: Behind = Behind { find: ptr::null_mut, takes: Takes::Kernel };

impl Behind {
    /// # Safety
    /// The pointers as stat requires.
    #[inline]
    pub(crate) unsafe fn by_path(
        self,
        dirfd: c_int,
        path: *const c_char,
        to: *mut libc::stat,
        flags: c_int,
    ) -> c_int {
        let f = (self.find)();
        // SAFETY: functions of these names have these arguments; the rest by the caller's word.
        unsafe {
            match self.takes {
                _ if f.is_null() || f == nothing() => kernel(dirfd, path, to, flags),
                Takes::At => transmute::<*mut c_void, At>(f)(dirfd, path, to, flags),
                Takes::VersionAt => {
                    transmute::<*mut c_void, VersionAt>(f)(VERSION, dirfd, path, to, flags)
                }
                Takes::Path if dirfd == AT_FDCWD => transmute::<*mut c_void, Path>(f)(path, to),
                Takes::VersionPath if dirfd == AT_FDCWD => {
                    transmute::<*mut c_void, VersionPath>(f)(VERSION, path, to)
                }
                _ => kernel(dirfd, path, to, flags),
            }
        }
    }

    /// # Safety
    /// `to` as fstat requires.
    #[inline]
    pub(crate) unsafe fn by_fd(self, fd: c_int, to: *mut libc::stat) -> c_int {
        let f = (self.find)();
        // SAFETY: as in `by_path`.
        unsafe {
            match self.takes {
                Takes::Fd if f != nothing() => transmute::<*mut c_void, Fd>(f)(fd, to),
                Takes::VersionFd if f != nothing() => {
                    transmute::<*mut c_void, VersionFd>(f)(VERSION, fd, to)
                }
                _ => {
                    sys::ret(sys::syscall(libc::SYS_fstat, [fd as usize, to as usize, 0, 0, 0, 0]))
                }
            }
        }
    }
}

type Path = unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int;
type VersionPath = unsafe extern "C" fn(c_int, *const c_char, *mut libc::stat) -> c_int;
type At = unsafe extern "C" fn(c_int, *const c_char, *mut libc::stat, c_int) -> c_int;
type VersionAt = unsafe extern "C" fn(c_int, c_int, *const c_char, *mut libc::stat, c_int) -> c_int;
type Fd = unsafe extern "C" fn(c_int, *mut libc::stat) -> c_int;
type VersionFd = unsafe extern "C" fn(c_int, c_int, *mut libc::stat) -> c_int;

/// Stands for a function that does not exist: null would be looked for each time.
pub(crate) fn nothing() -> *mut c_void {
    ptr::dangling_mut::<u8>().cast()
}

/// What stands behind under a name.
macro_rules! behind {
    ($name:ident, $takes:ident) => {{
        use $crate::hooks::attributes::stat_behind::{Behind, Takes, nothing};
        static REAL: $crate::libc_calls::hook_macros::Real =
            $crate::libc_calls::hook_macros::Real::new();
        Behind { find: || REAL.get(stringify!($name), nothing()), takes: Takes::$takes }
    }};
}
pub(super) use behind;

/// # Safety
/// `to` as the kernel requires.
unsafe fn kernel(dirfd: c_int, path: *const c_char, to: *mut libc::stat, flags: c_int) -> c_int {
    let a = [dirfd as usize, path as usize, to as usize, flags as usize, 0, 0];
    // SAFETY: the kernel checks the pointers.
    sys::ret(unsafe { sys::syscall(libc::SYS_newfstatat, a) })
}
