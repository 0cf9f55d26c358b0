//! The working directory: chdir passes, so the process really stands in the original directory and getcwd is right
//! without a hook. Only a redirected descriptor could lead into the stage.

use core::ffi::{c_char, c_int};

use crate::route::PATH_MAX;
use crate::stage::{self, stage};
use crate::sys;

hooks! {
    unsafe fn fchdir(fd: c_int) -> c_int => my_fchdir {
        if let Some(stage) = stage() && sys::fstat(fd).is_ok_and(|st| st.st_dev == stage.dev) {
            let mut buf = [0u8; PATH_MAX];
            if let Some(path) = stage.c_path_of_fd(fd, &mut buf) {
                // SAFETY: a C string of ours.
                return sys::ret(unsafe { sys::syscall(libc::SYS_chdir, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) });
            }
        }
        // SAFETY: the caller's own arguments.
        unsafe { real!(fchdir)(fd) }
    }
    unsafe fn chroot(path: *const c_char) -> c_int => my_chroot {
        // SAFETY: the caller's own arguments.
        let r: c_int = unsafe { real!(chroot)(path) };
        if r == 0 {
            stage::turn_off();
        }
        r
    }
}
