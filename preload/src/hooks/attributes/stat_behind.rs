//! Calls the real function behind each hook of the stat family. The function is called instead of the system call
//! because the function may belong to another preloaded library that counts calls. If no such function exists, makes
//! the system call. [`crate::hooks::attributes::stat`] says which versions of glibc have which function.

use core::ffi::{c_char, c_int, c_void};
use core::mem::transmute;
use core::ptr;

use libc::AT_FDCWD;
use pyshm_core::base::sys;

/// The real function behind a hook.
#[derive(Clone, Copy)]
pub struct Behind {
    /// Finds the function's address.
    pub find: fn() -> *mut c_void,
    /// The function's arguments.
    pub takes: Takes,
}

/// Arguments of a function of the family. `version` is the version of `struct stat` that the caller was built for,
/// which is the same in all 64-bit programs.
#[derive(Clone, Copy)]
pub enum Takes {
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
    /// The arguments of `newfstatat`: this is a system call without a function.
    Kernel,
}

/// `_STAT_VER` of `__xstat` on 64-bit systems.
const VERSION: c_int = if cfg!(target_arch = "x86_64") { 1 } else { 0 };

/// The system call itself.
pub const KERNEL: Behind = Behind { find: ptr::null_mut, takes: Takes::Kernel };

impl Behind {
    /// Reads the attributes of a path.
    ///
    /// # Safety
    /// The pointers as stat requires.
    #[inline]
    pub unsafe fn by_path(
        self,
        dirfd: c_int,
        path: *const c_char,
        to: *mut libc::stat,
        flags: c_int,
    ) -> c_int {
        let f = (self.find)();
        // SAFETY: functions of these names have these arguments, and the caller guarantees the pointers.
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

    /// Reads the attributes of a descriptor.
    ///
    /// # Safety
    /// `to` as fstat requires.
    #[inline]
    pub unsafe fn by_fd(self, fd: c_int, to: *mut libc::stat) -> c_int {
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

/// The address that stands for a missing function. The address is not null, because null means that the function has
/// not been looked up yet.
pub fn nothing() -> *mut c_void {
    ptr::dangling_mut::<u8>().cast()
}

/// Makes the [`Behind`] of a function by its name and arguments.
macro_rules! behind {
    ($name:ident, $takes:ident) => {{
        use $crate::hooks::attributes::stat_behind::{Behind, Takes, nothing};
        static REAL: $crate::libc_calls::hook_macros::Real =
            $crate::libc_calls::hook_macros::Real::new();
        Behind { find: || REAL.get(stringify!($name), nothing()), takes: Takes::$takes }
    }};
}
pub(super) use behind;

/// Declares hooks of the family: `fn NAME, NAME(ARGUMENTS) = |behind: TAKES| BODY;`.
macro_rules! stat_hooks {
    ($( fn $($name:ident),+ ($($args:tt)*) = |$behind:ident: $takes:ident| $body:expr; )*) => {
        $( stat_hook_names! { [$($name)+] ($($args)*), $behind, $takes, $body } )*
    };
}
pub(super) use stat_hooks;

/// Declares all names of a hook of the family.
macro_rules! stat_hook_names {
    ([$($name:ident)+] $args:tt, $behind:ident, $takes:ident, $body:expr) => {
        $( stat_hook! { $name $args, $behind, $takes, $body } )+
    };
}
pub(super) use stat_hook_names;

/// Declares one name of a hook of the family.
macro_rules! stat_hook {
    ($name:ident ($($arg:ident: $ty:ty),*), $behind:ident, $takes:ident, $body:expr) => {
        exports! {
            fn $name($($arg: $ty),*) -> c_int = {
                let $behind = behind!($name, $takes);
                $body
            };
        }
    };
}
pub(super) use stat_hook;

/// # Safety
/// `to` as the kernel requires.
unsafe fn kernel(dirfd: c_int, path: *const c_char, to: *mut libc::stat, flags: c_int) -> c_int {
    let a = [dirfd as usize, path as usize, to as usize, flags as usize, 0, 0];
    // SAFETY: the kernel checks the pointers.
    sys::ret(unsafe { sys::syscall(libc::SYS_newfstatat, a) })
}
