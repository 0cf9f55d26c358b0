//! Hooks the functions of the working and the root directory. chdir passes, so the working directory is the original
//! one and getcwd is right without a hook. Only fchdir to a redirected descriptor could lead into the stage.
//! get_current_dir_name has a hook because libc's own compares `$PWD` with the working directory by calls that reach no
//! hook.

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::AT_FDCWD;
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::stage::current::{root_changed, stage};

use crate::hooks::attributes::stat::stat_at;
use crate::libc_calls::lazy_libc;

/// Changes to the original if the directory `fd` is redirected, else calls `real`.
fn change_to(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if let Some(stage) = stage()
        && sys::fstat(fd).is_ok_and(|st| st.st_dev == stage.dev)
    {
        let mut buf = [0u8; PATH_MAX];
        if let Some(path) = stage.c_path_of_fd(fd, &mut buf) {
            if stage.is_replaced(path.to_bytes()) {
                return sys::fail(libc::ENOENT);
            }
            let a = [path.as_ptr() as usize, 0, 0, 0, 0, 0];
            // SAFETY: `path` is a C string on this stack.
            return sys::ret(unsafe { sys::syscall(libc::SYS_chdir, a) });
        }
    }
    real()
}

/// Implements get_current_dir_name: `$PWD` if it names the working directory, else the result of getcwd.
fn current_name() -> *mut c_char {
    // SAFETY: a struct of integers may be zero, and the variable is null or a C string. By the contract the caller
    // frees the result.
    unsafe {
        let (mut here, mut there): (libc::stat, libc::stat) =
            (core::mem::zeroed(), core::mem::zeroed());
        let pwd = lazy_libc::getenv(c"PWD".as_ptr());
        let before = sys::errno();
        if !pwd.is_null()
            && stat_at(AT_FDCWD, c".".as_ptr(), &raw mut here, 0) == 0
            && stat_at(AT_FDCWD, pwd, &raw mut there, 0) == 0
            && (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
        {
            return libc::strdup(pwd);
        }
        sys::set_errno(before);
        lazy_libc::getcwd(ptr::null_mut(), 0)
    }
}

/// Turns the shim off if chroot succeeded.
fn after_chroot(result: c_int) -> c_int {
    if result == 0 {
        root_changed();
    }
    result
}

hooks! {
    fn fchdir(fd: c_int) -> c_int = |real| change_to(fd, || real(fd));
    fn get_current_dir_name() -> *mut c_char
        = |real| if stage().is_some() { current_name() } else { real() };
    fn chroot(path: *const c_char) -> c_int = |real| after_chroot(real(path));
}
