//! The working directory: chdir passes, so the process really stands in the original directory and getcwd is right
//! without a hook. Only a redirected descriptor could lead into the stage. get_current_dir_name compares `$PWD` with
//! where the process stands, by calls inside libc.

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::AT_FDCWD;

use crate::hooks::attributes::stat::stat_at;
use crate::libc_calls::lazy_libc;
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::stage::current;
use pyshm_core::stage::current::stage;

hooks! {
    unsafe fn fchdir(fd: c_int) -> c_int => my_fchdir {
        if let Some(stage) = stage() && sys::fstat(fd).is_ok_and(|st| st.st_dev == stage.dev) {
            let mut buf = [0u8; PATH_MAX];
            if let Some(path) = stage.c_path_of_fd(fd, &mut buf) {
                if stage.is_replaced(path.to_bytes()) {
                    return sys::fail(libc::ENOENT);
                }
                // SAFETY: a C string of ours.
                return sys::ret(unsafe { sys::syscall(libc::SYS_chdir, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) });
            }
        }
        // SAFETY: the caller's own arguments.
        unsafe { real!(fchdir)(fd) }
    }
    unsafe fn get_current_dir_name() -> *mut c_char => my_get_current_dir_name {
        if stage().is_none() {
            // SAFETY: it takes nothing.
            return unsafe { real!(get_current_dir_name)() };
        }
        // SAFETY: structures of integers may be all zero; the variable is a C string; memory that the caller frees is
        // libc's contract.
        unsafe {
            let (mut here, mut there): (libc::stat, libc::stat) = (core::mem::zeroed(), core::mem::zeroed());
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
    unsafe fn chroot(path: *const c_char) -> c_int => my_chroot {
        // SAFETY: the caller's own arguments.
        let r: c_int = unsafe { real!(chroot)(path) };
        if r == 0 {
            current::root_changed();
        }
        r
    }
}
